"""AuthService over any transport: proto in, rule, proto out."""

from auth_svc.accounts import Accounts
from auth_svc.address import client_address
from auth_svc.sessions import Granted, Sessions
from mesh.call import Call
from scoreboard.v1 import auth_pb2 as pb


class AuthService:
    """Signs players up and in; trusted_hops: proxies of ours in front of the gateway."""

    def __init__(self, accounts: Accounts, sessions: Sessions, trusted_hops: int) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._trusted_hops = trusted_hops

    async def register(self, request: pb.RegisterRequest, call: Call) -> pb.Session:
        """Creates an account and its first session."""
        return _session(await self._accounts.register(request.username, request.password, self._address(call)))

    async def login(self, request: pb.LoginRequest, call: Call) -> pb.Session:
        """Starts a session."""
        return _session(await self._accounts.login(request.username, request.password, self._address(call)))

    async def refresh(self, request: pb.RefreshRequest, call: Call) -> pb.Session:
        """Exchanges a refresh token for new tokens of the same session."""
        return _session(await self._sessions.go_on(request.refresh_token, call.metadata.get("x-signature")))

    async def logout(self, request: pb.LogoutRequest, call: Call) -> pb.LogoutResponse:
        """Ends the session of a refresh token."""
        await self._sessions.end(request.refresh_token)
        return pb.LogoutResponse(success=True)

    def _address(self, call: Call) -> str:
        return client_address(call.metadata.get("x-forwarded-for"), self._trusted_hops)


def _session(granted: Granted) -> pb.Session:
    return pb.Session(
        access_token=granted.access_token,
        token_type="Bearer",  # noqa: S106 -- the type's name
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token,
        signing_key=granted.signing_key,
        server_time=granted.server_time,
        user_id=granted.user_id,
    )
