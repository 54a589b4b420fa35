"""Serves what is plain HTTP: the keys, the metadata and the token endpoint.

Holds always: every answer is JSON, a failed one in the form of RFC 6749, and nothing of our inside is in it.
"""

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from auth_svc.access_token import PLAYER_SCOPE
from auth_svc.keyring import Keyring
from auth_svc.oauth import TokenEndpoint, failed
from auth_svc.rotation import JWKS_CACHE_S
from mesh import metrics
from mesh.rpc_figures import RpcFigures

log = logging.getLogger(__name__)
JWKS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 -- a path
BODY_BYTES_MAX = 16 * 1024  # a token of a studio's identity provider may have some kB
STOP_S = 2.0  # requests in flight are short

_FIGURES = {
    (method, path): RpcFigures(f"{method} {path}")
    for method, path in (("GET", JWKS_PATH), ("GET", METADATA_PATH), ("POST", TOKEN_PATH))
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def start(
    host: str, port: int, issuer: str, keyring: Keyring, endpoint: TokenEndpoint
) -> Callable[[], Awaitable[None]]:
    """Serves until the function that it returns is called. Raises OSError when the port cannot be had."""
    app = web.Application(middlewares=[_counted, _json_errors], client_max_size=BODY_BYTES_MAX)
    metadata = json.dumps(_metadata(issuer, endpoint.grant_types)).encode()

    async def jwks(_: web.Request) -> web.Response:
        keys = keyring.jwks()
        if keys is None:
            return failed(503, "temporarily_unavailable", "The keys are not there yet; try again.", retry_after_s=1)
        return _document(keys, JWKS_CACHE_S)

    async def describe(_: web.Request) -> web.Response:
        return _document(metadata, 3600)

    app.router.add_get(JWKS_PATH, jwks)
    app.router.add_get(METADATA_PATH, describe)
    app.router.add_post(TOKEN_PATH, endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_port=False).start()
    return runner.cleanup


def _document(body: bytes, cache_s: int) -> web.Response:
    headers = {"Cache-Control": f"public, max-age={cache_s}"}
    return web.Response(body=body, content_type="application/json", headers=headers)


def _metadata(issuer: str, grant_types: list[str]) -> dict[str, object]:
    """RFC 8414, section 2; there is no authorization endpoint, so no response types."""
    base = issuer.rstrip("/")
    return {
        "issuer": issuer,
        "token_endpoint": base + TOKEN_PATH,
        "jwks_uri": base + JWKS_PATH,
        "scopes_supported": PLAYER_SCOPE.split(),
        "response_types_supported": [],
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
    }


@web.middleware
async def _counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    figures, began = _FIGURES.get((request.method, request.path)), metrics.clock()
    answer = await handler(request)
    if figures is not None:
        figures.answered(began)
        if answer.status >= 400:
            figures.failed(answer.status)
    return answer


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as e:
        answer = failed(e.status, "invalid_request", e.reason)
        if "Allow" in e.headers:
            answer.headers["Allow"] = e.headers["Allow"]
        return answer
    except Exception as e:
        log.error("A request failed unexpectedly", exc_info=e, extra={"event": "request_failed", "path": request.path})
        return failed(500, "server_error", "An internal error occurred; it was logged.")
