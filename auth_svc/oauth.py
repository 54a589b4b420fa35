"""The token endpoint: the grants refresh_token and client_credentials (RFC 6749, by the rules of RFC 9700), and token
exchange (RFC 8693) where identity providers are configured.

Holds always: every answer says `Cache-Control: no-store`, and the password grant is refused: first-party login is the
Login RPC.
"""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

from auth_svc.access_token import PLAYER_SCOPE, client_scope
from auth_svc.accounts import Accounts
from auth_svc.exchange import ACCESS_TOKEN, GRANT_TYPE, SUBJECT_TOKENS, Exchange
from auth_svc.sessions import Granted, Sessions
from mesh.address import client_address
from mesh.reasons import Reason
from mesh.refusal import Refused, retry_after_s

FIELDS_MAX = 20
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
FORM = "application/x-www-form-urlencoded"
_AWAY = (Reason.RATE_LIMITED, Reason.QUEUE_FULL, Reason.SERVICE_AWAY)


class OAuthError(Exception):
    """A failed request in the words of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, *, status: int = 400, by_basic: bool = False) -> None:
        super().__init__(error)
        self.error, self.description, self.status, self.by_basic = error, description, status, by_basic


class TokenEndpoint:
    """Answers `POST /oauth2/token`; trusted_hops: proxies of ours in front of the gateway."""

    def __init__(self, accounts: Accounts, sessions: Sessions, exchange: Exchange | None, trusted_hops: int) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._exchange = exchange
        self._trusted_hops = trusted_hops

    @property
    def grant_types(self) -> list[str]:
        """What the endpoint answers to."""
        return ["refresh_token", "client_credentials", *([GRANT_TYPE] if self._exchange else [])]

    async def handle(self, request: web.Request) -> web.Response:
        """Returns the tokens, or the error of RFC 6749."""
        try:
            if request.content_type != FORM:
                raise OAuthError("invalid_request", f"The body must be {FORM}.")
            body = await self._grant(request, parse_form(await request.read()))
            return web.json_response(body, headers=NO_STORE)
        except OAuthError as e:
            answer = failed(e.status, e.error, e.description)
            if e.by_basic:
                answer.headers["WWW-Authenticate"] = 'Basic realm="scoreboard", charset="UTF-8"'
            return answer
        except Refused as refused:
            return _refused(refused)

    async def _grant(self, request: web.Request, form: Mapping[str, str]) -> dict[str, object]:
        match form.get("grant_type"):
            case "refresh_token":
                return await self._refresh(request, form)
            case "client_credentials":
                return await self._client(request, form)
            case grant_type if grant_type == GRANT_TYPE and self._exchange:
                return await self._exchanged(self._exchange, request, form)
            case None:
                raise OAuthError("invalid_request", "grant_type is missing.")
            case _:
                raise OAuthError("unsupported_grant_type", f"Supported are: {' '.join(self.grant_types)}")

    async def _refresh(self, request: web.Request, form: Mapping[str, str]) -> dict[str, object]:
        token = form.get("refresh_token")
        if token is None:
            raise OAuthError("invalid_request", "refresh_token is missing.")
        _check_scope(form, PLAYER_SCOPE)
        return _session(await self._sessions.go_on(token, request.headers.get("x-signature")))

    async def _exchanged(self, exchange: Exchange, request: web.Request, form: Mapping[str, str]) -> dict[str, object]:
        subject_token = check_exchange(form, exchange.audience)
        _check_scope(form, PLAYER_SCOPE)
        granted = await exchange.grant(subject_token, self._address(request))
        return {**_session(granted), "issued_token_type": ACCESS_TOKEN}

    async def _client(self, request: web.Request, form: Mapping[str, str]) -> dict[str, object]:
        header = request.headers.get("authorization")
        client_id, secret = credentials(header, form)
        try:
            client = await self._accounts.client(client_id, secret, self._address(request))
        except Refused as refused:
            if refused.reason is not Reason.BAD_CREDENTIALS:
                raise
            raise _invalid_client(by_basic=header is not None) from refused
        scope = client_scope(client.role)
        _check_scope(form, scope)
        token = self._sessions.client_token(client_id, client.role, scope)
        expires_in = self._sessions.token_life_s
        return {"access_token": token, "token_type": "Bearer", "expires_in": expires_in, "scope": scope}

    def _address(self, request: web.Request) -> str:
        return client_address(request.headers.get("x-forwarded-for"), self._trusted_hops)


def check_exchange(form: Mapping[str, str], audience: str) -> str:
    """Returns the subject token of an exchange that we can do. Raises OAuthError.

    audience: of the tokens that we give.
    """
    if "subject_token" not in form:
        raise OAuthError("invalid_request", "subject_token is missing.")
    if form.get("subject_token_type") not in SUBJECT_TOKENS:
        raise OAuthError("invalid_request", f"subject_token_type can be: {' '.join(SUBJECT_TOKENS)}")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise OAuthError("invalid_request", f"requested_token_type can be: {ACCESS_TOKEN}")
    if "actor_token" in form or "actor_token_type" in form:
        raise OAuthError("invalid_request", "Nobody acts for a player here: send no actor_token.")
    if "resource" in form or form.get("audience", audience) != audience:
        raise OAuthError("invalid_target", f"The only target is the audience {audience}.")  # RFC 8693, 2.2.2
    return form["subject_token"]


def parse_form(body: bytes) -> dict[str, str]:
    """Returns a form's parameters; empty ones count as absent. Raises OAuthError(invalid_request)."""
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=FIELDS_MAX, encoding="utf-8", errors="strict")
    except ValueError as e:
        raise OAuthError("invalid_request", "The form is malformed.") from e
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "A parameter occurs twice.")  # RFC 6749, 3.2
    return form


def credentials(header: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    """Returns client id and secret of HTTP Basic or of the form. Raises OAuthError."""
    if header is None:
        if "client_id" not in form or "client_secret" not in form:
            raise _invalid_client(by_basic=False)
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise OAuthError("invalid_request", "Use one way to authenticate, not two.")  # RFC 6749, 2.3
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        # Both parts are form-encoded before they are joined: RFC 6749, 2.3.1.
        client_id, colon, secret = (unquote_plus(part, errors="strict") for part in text.partition(":"))
    except (binascii.Error, ValueError) as e:
        raise _invalid_client(by_basic=True) from e
    if scheme.lower() != "basic" or not colon:
        raise _invalid_client(by_basic=True)
    return client_id, secret


def failed(status: int, error: str, description: str, *, retry_after_s: int | None = None) -> web.Response:
    """Returns an error answer of RFC 6749, section 5.2."""
    body = {"error": error, "error_description": description}
    answer = web.json_response(body, status=status, headers=NO_STORE)
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _session(granted: Granted) -> dict[str, object]:
    return {
        "access_token": granted.access_token,
        "token_type": "Bearer",
        "expires_in": granted.expires_in,
        "refresh_token": granted.refresh_token,
        "scope": PLAYER_SCOPE,
        "signing_key": granted.signing_key,
        "server_time": granted.server_time,
        "user_id": granted.user_id,
    }


def _check_scope(form: Mapping[str, str], granted: str) -> None:
    if not set(form.get("scope", "").split()) <= set(granted.split()):
        raise OAuthError("invalid_scope", f"The scope can be: {granted}")


def _refused(refused: Refused) -> web.Response:
    if refused.reason in _AWAY:
        status = 503 if refused.reason is Reason.SERVICE_AWAY else 429
        seconds = retry_after_s(refused)
        return failed(status, "temporarily_unavailable", refused.message, retry_after_s=seconds)
    return failed(400, "invalid_grant", refused.message)


def _invalid_client(*, by_basic: bool) -> OAuthError:
    return OAuthError("invalid_client", "The client or its secret is wrong.", status=401, by_basic=by_basic)
