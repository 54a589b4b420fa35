"""Brings the operator's commands to AdminService: with the mesh's own client here, with a token of one's own elsewhere.

Knows no command. Holds always: what goes wrong inside `open_admin` is a Trouble, with the server's own sentence.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import grpc

from scoreboard.client import ScoreboardError, to_error
from scoreboard.local import accounts, secrets, state
from scoreboard.local.trouble import Trouble
from scoreboard.v1.admin_pb2_grpc import AdminServiceStub

if TYPE_CHECKING:
    from scoreboard.v1.admin_pb2_grpc import AdminServiceAsyncStub

URL_VARIABLE = "SCOREBOARD_ADMIN_URL"
TOKEN_VARIABLE = "SCOREBOARD_ADMIN_TOKEN"  # noqa: S105 -- a variable's name
#: PEM files for https: who vouches for the server (by default the system's authorities), and what we show it.
CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE = (f"SCOREBOARD_ADMIN_{name}_FILE" for name in ("CA", "CERT", "KEY"))
TOKEN_TIMEOUT_S = 5.0

_CURES: Mapping[str, str] = {
    "": "See: scoreboard status, and DIR/logs/admin_svc.log.",
    "TOKEN_EXPIRED": f"Put a new access token into {TOKEN_VARIABLE}.",
    "TOKEN_INVALID": f"Put an access token of this deployment into {TOKEN_VARIABLE}.",
    "SCOPE_MISSING": "An admin gives roles: scoreboard admin create.",
    "DEADLINE_EXCEEDED": "See: scoreboard status, and whether the workers are paused (scoreboard resume).",
}

Metadata = tuple[tuple[str, str], ...]


@asynccontextmanager
async def open_admin(data: Path) -> AsyncIterator[tuple[AdminServiceAsyncStub, Metadata]]:
    """Yields AdminService's stub and the metadata that each call on it needs.

    SCOREBOARD_ADMIN_URL and SCOREBOARD_ADMIN_TOKEN name another deployment than the mesh of `data`. Raises Trouble
    when there is none, when it lets us not in, and for a call of the block that fails.
    """
    url, token = await _way_in(data)
    parts = urlsplit(url)
    if parts.scheme == "https":
        channel = grpc.aio.secure_channel(parts.netloc, _credentials())
    else:
        channel = grpc.aio.insecure_channel(parts.netloc)
    async with channel:
        try:
            yield AdminServiceStub(channel), (("authorization", f"Bearer {token}"),)
        except grpc.aio.AioRpcError as error:
            raise _trouble(to_error(error)) from error


def _credentials() -> grpc.ChannelCredentials:
    ca, cert, key = (_pem(name) for name in (CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE))
    if (cert is None) != (key is None):
        raise Trouble(f"One of {CERT_VARIABLE} and {KEY_VARIABLE} is missing.", "Set both, or neither.")
    return grpc.ssl_channel_credentials(ca, key, cert)


def _pem(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise Trouble(f"{variable}={path} cannot be read: {error.strerror}", "Look at its name and rights.") from error


async def _way_in(data: Path) -> tuple[str, str]:
    """Returns AdminService's URL and an access token."""
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if url and token:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise Trouble(f"{URL_VARIABLE}={url} is no address.", "Give it as http://HOST:PORT or https://HOST:PORT.")
        return url, token
    if url or token:
        raise Trouble(f"One of {URL_VARIABLE} and {TOKEN_VARIABLE} is missing.", "Set both, or neither for --data.")
    mesh = state.require(data)
    if mesh.admin is None:
        raise Trouble("The mesh was started by a version without AdminService.", "Run scoreboard down, then up.")
    secret = secrets.load(data).operator
    return mesh.admin, await asyncio.to_thread(_fetch_token, mesh.gateway, secret)


def _fetch_token(gateway: str, secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": accounts.OPERATOR, "client_secret": secret}
    request = Request(f"{gateway}/oauth2/token", urlencode(form).encode())  # noqa: S310 -- our own gateway's address
    try:
        with urlopen(request, timeout=TOKEN_TIMEOUT_S) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])
    except HTTPError as error:
        what = f"The gateway gives no token to {accounts.OPERATOR} (HTTP {error.code})."
        raise Trouble(what, "See DIR/logs/auth_svc.log; scoreboard up makes that client again.") from error
    except (URLError, OSError, ValueError, KeyError) as error:
        raise Trouble(f"The gateway does not answer: {error}", "See: scoreboard status, and DIR/logs.") from error


def _trouble(error: ScoreboardError) -> Trouble:
    return Trouble(error.message, _CURES.get(error.reason, f"Reason: {error.reason}"))
