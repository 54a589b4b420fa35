"""A stand-in for the services behind the gateway: a real `mesh.server` that answers each call as its caller asks.

`python -m tests.e2e.refusing GRPC_PORT HTTP_PORT` with the JWKS in TEST_JWKS. Header `x-test` says what happens:
`refuse REASON`, `crash`, `hang`, `pending`, `etag`; without it calls succeed. It exists because some reasons need a
broken server that no client can break, while the gateway has to carry each of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import web

from mesh.call import Call
from mesh.identity import TokenVerifier
from mesh.plain_get import HttpAnswer
from mesh.reasons import Reason
from mesh.refusal import Refused
from mesh.rpc import PUBLIC, Access, Service
from mesh.run import run
from mesh.server import serve
from mesh.settings import ServiceSettings
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2, stream_pb2

ISSUER = "https://auth.test"
MESSAGE = 'Line one,\n"quoted", <b>ünïcode</b> \\ and the end.'
RETRYABLE = {Reason.RATE_LIMITED, Reason.QUEUE_FULL, Reason.BROKER_AWAY, Reason.SERVICE_AWAY}
RETRYABLE |= {Reason.COOLDOWN, Reason.CAP_REACHED, Reason.SLOW_CONSUMER, Reason.LEADERBOARD_UNAVAILABLE}


async def obey(call: Call) -> None:
    """Does what the caller's `x-test` says."""
    match call.metadata.get("x-test", "").split():
        case ["refuse", name, *field]:
            reason = Reason(name)
            retry_after_s = 6.2 if reason in RETRYABLE else None
            raise Refused(reason, MESSAGE, retry_after_s=retry_after_s, **({"field": field[0]} if field else {}))
        case ["crash"]:
            raise RuntimeError("secret inside")
        case ["hang"]:
            await asyncio.sleep(60)
        case ["pending"]:
            call.answer["x-http-code"] = "202"
        case ["etag"]:
            call.answer["etag"] = '"7"'
            call.answer["cache-control"] = "no-cache"
            if call.metadata.get("if-none-match") == '"7"':
                call.answer["x-http-code"] = "304"


class Obedient:
    """Servicer of every service: obeys, then answers with what it saw."""

    def __getattr__(self, name: str) -> Any:
        async def method(request: Any, call: Call) -> Any:
            await obey(call)
            return ANSWERS[name](request, call)

        return method

    async def watch_leaderboard(
        self, request: stream_pb2.WatchLeaderboardRequest, call: Call
    ) -> AsyncIterator[stream_pb2.LeaderboardUpdate]:
        """Two frames, then silence."""
        await obey(call)
        for version in (1, 2):
            yield stream_pb2.LeaderboardUpdate(board=request.board or "all", version=version)
        await asyncio.sleep(60)


def _update(request: Any, call: Call) -> score_pb2.UpdateScoreResponse:
    return score_pb2.UpdateScoreResponse(
        success=True, new_score=150, username=call.caller.subject, status=score_pb2.APPLIED
    )


def _leaderboard(request: Any, call: Call) -> leaderboard_pb2.GetLeaderboardResponse:
    # What reached us of the headers that a client might use to pass for somebody: shown as board and period.
    seen = [name for name in call.metadata if name.startswith(("x-jwt", "x-envoy-upstream", "x-user"))]
    answer = leaderboard_pb2.GetLeaderboardResponse(board=",".join(sorted(seen)), period="p", version=2**40)
    answer.leaderboard.add(rank=1, user_id="u", username="Ü", score=1200)
    return answer


ANSWERS: dict[str, Callable[[Any, Call], Any]] = {
    "update_score": _update,
    "update_scores": lambda *_: score_pb2.UpdateScoresResponse(),
    "issue_nonce": lambda *_: score_pb2.IssueNonceResponse(nonce="s.x"),
    "get_update": lambda *_: score_pb2.UpdateScoreResponse(success=True, status=score_pb2.PENDING),
    "get_leaderboard": _leaderboard,
    "get_around": _leaderboard,
    "get_rank": lambda *_: leaderboard_pb2.GetRankResponse(rank=1),
    "list_boards": lambda *_: leaderboard_pb2.ListBoardsResponse(),
    "login": lambda *_: auth_pb2.Session(token_type="Bearer"),
    "register": lambda *_: auth_pb2.Session(token_type="Bearer"),
    "guest": lambda *_: auth_pb2.Session(token_type="Bearer"),
    "update_profile": lambda *_: auth_pb2.Profile(user_id="u"),
    "delete_account": lambda *_: auth_pb2.DeleteAccountResponse(success=True),
    "logout": lambda *_: auth_pb2.LogoutResponse(success=True),
}


async def page(query: str, headers: Mapping[str, str]) -> HttpAnswer:
    """What leaderboard_svc answers past the transcoder: obeys, then an empty object."""
    call = Call(headers)
    await obey(call)
    return HttpAnswer(int(call.answer.pop("x-http-code", "200")), call.answer, b"{}")


async def main(settings: ServiceSettings) -> None:
    """Serves the four services on one port and the keys on another."""
    grpc_port, http_port, gateway_port = (int(argument) for argument in sys.argv[1:4])
    app = web.Application()

    async def jwks(request: web.Request) -> web.Response:
        return web.Response(text=os.environ["TEST_JWKS"], content_type="application/json")

    app.router.add_get("/.well-known/jwks.json", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", http_port).start()
    verifier = TokenVerifier(f"http://127.0.0.1:{http_port}/.well-known/jwks.json", ISSUER, "scoreboard")
    await verifier.start()
    modules = {"Auth": auth_pb2, "Score": score_pb2, "Leaderboard": leaderboard_pb2, "Stream": stream_pb2}
    services = []
    for name, module in modules.items():
        descriptor = module.DESCRIPTOR.services_by_name[f"{name}Service"]
        access = Access(token=True, scope="update:score") if name == "Score" else PUBLIC
        services.append(Service(descriptor, Obedient(), {method.name: access for method in descriptor.methods}))
    await serve(
        settings,
        grpc_port,
        services,
        ready=lambda: verifier.is_ready,
        gateway_port=gateway_port,
        pages={"/api/scores/leaderboard": page},
        verifier=verifier,
    )
    await verifier.close()
    await runner.cleanup()


if __name__ == "__main__":
    run("refusing", ServiceSettings, main)
