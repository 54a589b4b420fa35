"""AuthService over any transport: proto in, rule, proto out."""

import logging
from collections.abc import Mapping

from auth_svc.accounts import Accounts
from auth_svc.profile import Asking, Profiles
from auth_svc.sessions import Granted, Sessions
from mesh.address import client_address
from mesh.call import Call
from mesh.rpc import PUBLIC, Access
from scoreboard.v1 import auth_pb2 as pb

log = logging.getLogger(__name__)

ANSWER_BUDGET_S = 4.0  # for what a worker does, within the gateway's 5 s and beside a password's hash or two
_OWN_SESSION = Access(token=True, session=True)
ACCESS: Mapping[str, Access] = {
    "Register": PUBLIC,
    "Guest": PUBLIC,
    "Login": PUBLIC,
    "Refresh": PUBLIC,
    "Logout": PUBLIC,
    "UpdateProfile": _OWN_SESSION,
    "DeleteAccount": _OWN_SESSION,
}


class AuthService:
    """Signs players up and in, and changes them; trusted_hops: proxies of ours in front of the gateway."""

    def __init__(self, accounts: Accounts, sessions: Sessions, profiles: Profiles, trusted_hops: int) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._profiles = profiles
        self._trusted_hops = trusted_hops

    async def register(self, request: pb.RegisterRequest, call: Call) -> pb.Session:
        """Creates an account and its first session."""
        granted = await self._accounts.register(request.username, request.password, self._address(call))
        _say("A player signed up", "signed_up", granted.user_id)
        return _session(granted)

    async def guest(self, request: pb.GuestRequest, call: Call) -> pb.Session:
        """Creates a player without a password and the first session."""
        granted = await self._accounts.guest(request.username, self._address(call))
        _say("A guest came", "guest_came", granted.user_id)
        return _session(granted)

    async def login(self, request: pb.LoginRequest, call: Call) -> pb.Session:
        """Starts a session."""
        granted = await self._accounts.login(request.username, request.password, self._address(call))
        _say("A player logged in", "logged_in", granted.user_id)
        return _session(granted)

    async def refresh(self, request: pb.RefreshRequest, call: Call) -> pb.Session:
        """Exchanges a refresh token for new tokens of the same session."""
        return _session(await self._sessions.go_on(request.refresh_token, call.metadata.get("x-signature")))

    async def logout(self, request: pb.LogoutRequest, call: Call) -> pb.LogoutResponse:
        """Ends the session of a refresh token."""
        await self._sessions.end(request.refresh_token)
        return pb.LogoutResponse(success=True)

    async def update_profile(self, request: pb.UpdateProfileRequest, call: Call) -> pb.Profile:
        """Changes the caller's username, password or both."""
        user_id, username = await self._profiles.update(
            self._asking(call), request.username, request.password, request.new_password
        )
        _say("A player changed the profile", "profile_changed", user_id)
        return pb.Profile(user_id=user_id, username=username)

    async def delete_account(self, request: pb.DeleteAccountRequest, call: Call) -> pb.DeleteAccountResponse:
        """Erases the caller."""
        await self._profiles.erase(self._asking(call), request.password)
        _say("A player left for good", "account_deleted", call.caller.subject)
        return pb.DeleteAccountResponse(success=True)

    def _asking(self, call: Call) -> Asking:
        return Asking(call.caller, self._address(call), call.remaining_s(ANSWER_BUDGET_S))

    def _address(self, call: Call) -> str:
        return client_address(call.metadata.get("x-forwarded-for"), self._trusted_hops)


def _say(words: str, event: str, user_id: str) -> None:
    log.info(words, extra={"event": event, "user_id": user_id})


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
