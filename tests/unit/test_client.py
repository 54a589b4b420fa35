"""The Python client beside its decisions: its errors, its answers, its address, and what it takes to import it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
import time

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from score_svc.nonce import parse
from scoreboard.client import (
    Board,
    Client,
    Period,
    Place,
    ScoreboardError,
    Session,
    Status,
    SyncClient,
    Update,
    to_error,
)
from scoreboard.client.answers import to_board, to_place, to_update
from scoreboard.client.connection import parse_gateway
from scoreboard.v1 import leaderboard_pb2, score_pb2


def rpc_error(code: grpc.StatusCode, words: str | None, *trailers: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), words)


def details(*messages: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> tuple[str, bytes]:
    packed = []
    for message in messages:
        packed.append(any_pb2.Any())
        packed[-1].Pack(message)
    return "grpc-status-details-bin", status_pb2.Status(details=packed).SerializeToString()


def test_reason_values_and_delay_come_from_the_details() -> None:
    info = error_details_pb2.ErrorInfo(reason="COOLDOWN", domain="scoreboard", metadata={"action": "win-round"})
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    error = to_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Wait.", details(info, retry), ("retry-after", "9")))
    assert (error.reason, error.message, error.retry_after_s) == ("COOLDOWN", "Wait.", 1.5)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.metadata == {"action": "win-round"}
    assert str(error) == "COOLDOWN: Wait."


def test_a_delay_without_details_comes_from_the_header() -> None:
    error = to_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Slow down.", ("retry-after", "7")))
    assert (error.reason, error.retry_after_s) == ("", 7.0)
    assert str(error) == "RESOURCE_EXHAUSTED: Slow down."


def test_a_delay_that_is_a_date_is_left_out() -> None:
    date = ("retry-after", "Fri, 27 Nov 2026 20:00:00 GMT")  # RFC 9110, 10.2.3: of a proxy of somebody else's
    assert to_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "Away.", date)).retry_after_s is None


def test_an_error_of_the_network_has_neither_reason_nor_delay() -> None:
    error = to_error(rpc_error(grpc.StatusCode.UNAVAILABLE, None))
    assert (error.reason, error.message, error.retry_after_s, error.metadata) == ("", "", None, {})
    assert error.is_unknown


async def test_a_call_before_a_login_says_so() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ScoreboardError, match="Not logged in"):
            await client.score("win-round")
    with SyncClient("127.0.0.1:1") as client, pytest.raises(ScoreboardError, match="Not logged in"):
        client.score("win-round")


async def test_a_closed_client_says_so() -> None:
    client, blocking = Client("127.0.0.1:1"), SyncClient("127.0.0.1:1")
    await client.close()
    blocking.close()
    with pytest.raises(ScoreboardError, match="closed") as late:
        await client.top()
    assert not late.value.is_unknown
    with pytest.raises(ScoreboardError, match="closed"):
        blocking.top()
    assert [board async for board in client.watch()] == list(blocking.watch()) == []


async def test_a_call_and_a_watch_that_wait_end_when_their_client_is_closed() -> None:
    client, told = Client("127.0.0.1:1", deadline_s=3600), asyncio.Event()
    client.resume(Session(access_token="a", signing_key="AAAA", server_time=time.time() * 1000, expires_in=600))

    async def watch() -> None:
        async for _ in client.watch(on_state=lambda _: told.set()):
            pass

    calling, watching = asyncio.create_task(client.score("win-round")), asyncio.create_task(watch())
    async with asyncio.timeout(10):
        await told.wait()
        await client.close()
        with pytest.raises(ScoreboardError, match="closed"):
            await calling
        await watching


async def test_a_kept_session_makes_nonces_of_now() -> None:
    async with Client("127.0.0.1:1") as client:
        client.resume(Session(server_time=1_000_000.0, expires_in=600))
        made_ms = parse(client.nonce()).time_ms
    assert abs(made_ms - time.time() * 1000) < 60_000


async def test_a_gateway_that_is_away_is_asked_until_the_deadline() -> None:
    async with Client("127.0.0.1:1", deadline_s=0.5) as client:
        with pytest.raises(ScoreboardError) as away:
            await client.top()
    assert away.value.code is grpc.StatusCode.UNAVAILABLE
    with SyncClient("127.0.0.1:1", deadline_s=0.5) as client, pytest.raises(ScoreboardError) as away:
        client.register("ada", "correct horse")
    assert away.value.is_unknown


def test_absent_numbers_are_none_and_scores_are_whole() -> None:
    pending = score_pb2.UpdateScoreResponse(success=True, status=score_pb2.PENDING, update_id="id")
    assert to_update(pending) == Update(Status.PENDING, "id", "", None, None, "")
    applied = score_pb2.UpdateScoreResponse(status=score_pb2.APPLIED, new_score=0, points=-(2.0**53), username="Ada")
    assert to_update(applied) == Update(Status.APPLIED, "", "Ada", 0, -(2**53))
    rank = leaderboard_pb2.GetRankResponse(rank=1, user_id="u", username="Ada", score=2.0**53, players=3, board="all")
    assert to_place(rank) == Place(1, "u", "Ada", 2**53, 3, "all", "")
    week = leaderboard_pb2.Period(label="2026-W48", starts_at="a", ends_at="b", closed=True)
    board = leaderboard_pb2.Board(name="weekly", operator="sum", period_kind="week", periods=[week])
    assert to_board(board) == Board("weekly", "sum", "week", (Period("2026-W48", "a", "b", True),))


@pytest.mark.parametrize(
    ("text", "target", "is_encrypted"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("localhost:8080", "localhost:8080", False),
        ("[::1]:8080", "[::1]:8080", False),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", False),
        ("http://scores.internal", "scores.internal:80", False),
        ("https://127.0.0.1:8443", "127.0.0.1:8443", True),
        ("https://play.example.org", "play.example.org:443", True),
        ("play.example.org", "play.example.org:443", True),
        ("10.0.0.5:8080", "10.0.0.5:8080", True),
    ],
)
def test_only_this_machine_is_plain_unless_it_is_said(text: str, target: str, is_encrypted: bool) -> None:
    assert parse_gateway(text) == (target, is_encrypted)


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://a:1", "a:b", "a:70000", "http://a/path", "http://u:p@a", "a?b=c", "unix:/run/a"]
)
def test_what_is_no_address_is_told_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Client(text)
    with pytest.raises(ValueError, match=r".+"):
        SyncClient(text)


def public(kind: type) -> dict[str, object]:
    return {name: found for name, found in inspect.getmembers(kind) if not name.startswith("_")}


def test_both_clients_are_the_same_but_for_waiting() -> None:
    with_asyncio, without = public(Client), public(SyncClient)
    assert with_asyncio.keys() == without.keys()
    for name, method in with_asyncio.items():
        other = without[name]
        if inspect.isfunction(method) and inspect.isfunction(other):
            assert inspect.signature(method).parameters == inspect.signature(other).parameters, name
            assert "Plan" not in str(inspect.signature(method)), name
            assert method.__doc__, name
            assert other.__doc__, name


#: The top-level names that a module's import takes; in a process of its own, since this one has imported all there is.
IMPORTED = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(list(sys.modules)))"
OURS = {"mesh", "board", "auth_svc", "score_svc", "worker", "leaderboard_svc", "stream_svc", "admin_svc"}


def taken_by(module: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", IMPORTED, module], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def of_the_mesh() -> set[str]:
    """Our packages that no player has, and what the extra `mesh` installs beside what every player has."""
    needs = [one.replace("'", '"') for one in importlib.metadata.requires("scoreboard") or []]
    extra = {distribution(re.split(r"[^\w.-]", one)[0]) for one in needs if 'extra == "mesh"' in one}
    found = importlib.metadata.packages_distributions().items()
    # grpc imports those of its own by itself where they are installed.
    return OURS | {name for name, by in found if set(map(distribution, by)) <= extra and not name.startswith("grpc")}


def distribution(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_client_needs_nothing_of_the_mesh() -> None:
    assert taken_by("scoreboard.client") & of_the_mesh() == set()
    assert taken_by("mesh.postgres") & of_the_mesh() >= {"mesh", "asyncpg"}
