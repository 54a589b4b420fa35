"""A JWKS endpoint of a test's own: what an issuer of tokens publishes, and what such tokens look like."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class Published:
    """The endpoint at `url`; a test may change the list, or the whole body. `asked` counts the downloads."""

    def __init__(self, *keys: Mapping[str, Any]) -> None:
        self.keys: Any = list(keys)
        self.body: bytes | None = None  # None: the list
        self.speaking = asyncio.Event()  # no answer while it is not set
        self.speaking.set()
        self.asked = 0
        self.is_away = False
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.is_away:
            raise web.HTTPServiceUnavailable
        await self.speaking.wait()
        return web.json_response({"keys": self.keys}) if self.body is None else web.Response(body=self.body)


@asynccontextmanager
async def publishing(published: Published) -> AsyncIterator[Published]:
    """Serves the list over HTTP until the end of the block; `/elsewhere` redirects to it."""

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound("/jwks")

    app = web.Application()
    app.router.add_get("/jwks", published.answer)
    app.router.add_get("/elsewhere", redirect)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    published.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    try:
        yield published
    finally:
        published.speaking.set()
        await runner.cleanup()


def public_jwk(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    """Returns the public key as its issuer publishes it."""
    algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    alg = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": alg}


def unsigned(head: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Returns a token without a signature."""
    return f"{_part(head)}.{_part(claims)}."


def signed_es256(key: ec.EllipticCurvePrivateKey, head: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Returns a token signed by ES256 whatever its header says."""
    text = f"{_part(head)}.{_part(claims)}"
    return f"{text}.{b64url(ECAlgorithm(ECAlgorithm.SHA256).sign(text.encode(), key))}"


def hs256(secret: bytes, head: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Returns a token by HS256: with a public key as the secret, the classic confusion (RFC 8725, 2.1)."""
    text = f"{_part({**head, 'alg': 'HS256'})}.{_part(claims)}"
    return f"{text}.{b64url(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def with_claims(token: str, claims: Mapping[str, Any]) -> str:
    """Returns the token with other claims under its old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{_part(claims)}.{signature}"


def b64url(data: bytes) -> str:
    """Returns base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: Mapping[str, Any]) -> str:
    return b64url(json.dumps(value).encode())
