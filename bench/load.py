"""The load: prepared requests sent with so many calls in flight. Its own CPU is not part of any figure."""

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp
import grpc
import orjson

from bench import empty, h2, http1
from bench.tally import Answer, Connect, Request, Tally, drive_all, keep_pace
from scoreboard.client import Client
from scoreboard.v1 import auth_pb2, leaderboard_pb2, score_pb2, score_pb2_grpc, signing

CONNECTIONS = 4
ACTION = "collect-coin"
TOP, TOP_PATH = 10, "/api/scores/leaderboard"


@dataclass(frozen=True)
class Answers:
    """What the load met: operations that were answered as they should be, seconds of wall time, latencies."""

    operations: int
    wall_s: float
    latencies_ms: list[float]


async def sign_up(gateway: str, count: int) -> list[auth_pb2.Session]:
    """Creates players and returns their sessions."""
    async with Client(gateway) as client:
        return [await client.register(f"bench-{os.urandom(6).hex()}", os.urandom(12).hex()) for _ in range(count)]


async def renew(gateway: str, sessions: Sequence[auth_pb2.Session]) -> list[auth_pb2.Session]:
    """Returns the sessions with new tokens."""
    renewed = []
    async with Client(gateway) as client:
        for session in sessions:
            client.resume(session)
            renewed.append(await client.refresh())
    return renewed


async def drive(calls: Sequence[Callable[[], Awaitable[int]]], in_flight: int) -> Answers:
    """Makes the calls, `in_flight` at a time; each returns the operations that it did."""
    todo, latencies, operations = iter(calls), [], 0

    async def worker() -> None:
        nonlocal operations
        for call in todo:
            started = time.perf_counter()
            done = await call()
            operations += done  # after the await: read before it, others' additions would be lost
            latencies.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return Answers(operations, time.perf_counter() - started, sorted(latencies))


def channels(gateway: str) -> list[grpc.aio.Channel]:
    """Returns connections of their own to the gateway."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [grpc.aio.insecure_channel(gateway, options=options) for _ in range(CONNECTIONS)]


async def send(target: str, requests: Sequence[h2.Request], in_flight: int, is_good: Callable[[bytes], int]) -> Answers:
    """Sends prepared gRPC requests, so many at a time.

    Raises AssertionError when one was not answered as it should be.
    """
    return await _send(target, Tally(iter(requests), is_good), h2.Connection, in_flight, CONNECTIONS)


async def send_json(
    target: str, requests: Sequence[bytes], in_flight: int, is_good: Callable[[http1.Answer], int]
) -> Answers:
    """Sends prepared HTTP/1.1 requests, each of those in flight over its own connection; raises as `send`."""
    return await _send(target, Tally(iter(requests), is_good), http1.Connection, in_flight, in_flight)


async def _send(
    target: str, tally: Tally[Request, Answer], connect: Connect[Request, Answer], in_flight: int, connections: int
) -> Answers:
    started = time.perf_counter()
    await drive_all(target, tally, connect, in_flight, connections)
    return _answers(tally, time.perf_counter() - started)


async def pace(
    target: str, requests: Iterable[h2.Request], per_second: float, is_good: Callable[[bytes], int]
) -> Answers:
    """Sends gRPC requests at so many a second, answered or not; raises as `send`."""
    tally, started = Tally[h2.Request, bytes](iter(()), is_good), time.perf_counter()
    await keep_pace(target, tally, h2.Connection, requests, per_second)
    return _answers(tally, time.perf_counter() - started)


def _answers(tally: Tally[Request, Answer], wall_s: float) -> Answers:
    calls = len(tally.latencies_ms)
    assert not tally.failed, f"{tally.failed} of {calls} calls were not answered as they should be"
    return Answers(tally.operations, wall_s, sorted(tally.latencies_ms))


def is_applied(message: bytes) -> int:
    """Whether an update counted."""
    return score_pb2.UpdateScoreResponse.FromString(message).status == score_pb2.APPLIED


def is_applied_json(answer: http1.Answer) -> int:
    """The same by JSON."""
    return answer.status == 200 and orjson.loads(answer.body)["status"] == "APPLIED"


def updates(sessions: Sequence[auth_pb2.Session], count: int) -> list[h2.Request]:
    """Prepares unary updates of the players in turn, signed, each with its own nonce."""

    def prepare(session: auth_pb2.Session) -> h2.Request:
        nonce, signature = _signed(session)
        request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id=ACTION, nonce=nonce)
        metadata = {"authorization": f"Bearer {session.access_token}", "x-signature": signature}
        return h2.request("/scoreboard.v1.ScoreService/UpdateScore", request.SerializeToString(), metadata)

    return [prepare(sessions[number % len(sessions)]) for number in range(count)]


def updates_json(sessions: Sequence[auth_pb2.Session], count: int) -> list[bytes]:
    """The same by JSON."""

    def prepare(session: auth_pb2.Session) -> bytes:
        nonce, signature = _signed(session)
        headers = {"authorization": f"Bearer {session.access_token}", "x-signature": signature}
        body = orjson.dumps({"userId": session.user_id, "actionId": ACTION, "nonce": nonce})
        return http1.request("POST", "/api/scores/update", headers | {"content-type": "application/json"}, body)

    return [prepare(sessions[number % len(sessions)]) for number in range(count)]


def _signed(session: auth_pb2.Session) -> tuple[str, str]:
    nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
    key = base64.urlsafe_b64decode(session.signing_key + "=")
    return nonce, signing.sign(key, signing.update_payload(session.user_id, ACTION, nonce))


def empties(count: int) -> list[h2.Request]:
    """Prepares calls that do nothing (bench/empty.py)."""
    return [h2.request(empty.PATH, b"", {})] * count


async def client_token(gateway: str, client_id: str, secret: str) -> str:
    """Returns a trusted client's access token (RFC 6749, 4.4)."""
    form = {"grant_type": "client_credentials"}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(
            f"http://{gateway}/oauth2/token", data=form, auth=aiohttp.BasicAuth(client_id, secret)
        ) as response,
    ):
        return str((await response.json())["access_token"])


def batches(
    open_channels: Sequence[grpc.aio.Channel], token: str, user_ids: Sequence[str], count: int, size: int
) -> list[Callable[[], Awaitable[int]]]:
    """Prepares batches of a trusted client, over all players."""
    stubs = [score_pb2_grpc.ScoreServiceStub(channel) for channel in open_channels]
    metadata = (("authorization", f"Bearer {token}"),)

    def prepare(number: int) -> Callable[[], Awaitable[int]]:
        request, stub = score_pb2.UpdateScoresRequest(), stubs[number % len(stubs)]
        for place in range(size):
            nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
            user_id = user_ids[(number * size + place) % len(user_ids)]
            request.updates.add(user_id=user_id, action_id=ACTION, nonce=nonce)

        async def call() -> int:
            answer = await stub.UpdateScores(request, metadata=metadata, timeout=10)
            assert all(result.status == score_pb2.APPLIED for result in answer.results), answer
            return len(answer.results)

        return call

    return [prepare(number) for number in range(count)]


def tops(count: int) -> list[h2.Request]:
    """Prepares reads of the top 10."""
    message = leaderboard_pb2.GetLeaderboardRequest(limit=TOP).SerializeToString()
    return [h2.request("/scoreboard.v1.LeaderboardService/GetLeaderboard", message, {})] * count


def is_top(message: bytes) -> int:
    """Whether this is a top 10."""
    answer = leaderboard_pb2.GetLeaderboardResponse.FromString(message)
    return _is_ranked([row.rank for row in answer.leaderboard], [row.score for row in answer.leaderboard])


def tops_json(count: int, etag: str = "") -> list[bytes]:
    """The same by JSON. etag: of the one that the client has, if any."""
    headers = {"if-none-match": etag} if etag else {}
    return [http1.request("GET", f"{TOP_PATH}?limit={TOP}", headers)] * count


def is_top_json(answer: http1.Answer) -> int:
    """Whether this is a top 10."""
    rows = orjson.loads(answer.body)["leaderboard"] if answer.status == 200 else []
    return _is_ranked([row["rank"] for row in rows], [row["score"] for row in rows])


def is_unchanged(answer: http1.Answer) -> int:
    """Whether the client was told that what it has is right."""
    return answer == http1.Answer(304, b"")


async def etag(gateway: str) -> str:
    """Returns the present ETag of the top 10."""
    url = f"http://{gateway}{TOP_PATH}?limit={TOP}"
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as response:
        return response.headers["etag"]


def ranks(user_ids: Sequence[str]) -> list[h2.Request]:
    """Prepares reads of these players' ranks."""
    path = "/scoreboard.v1.LeaderboardService/GetRank"
    return [
        h2.request(path, leaderboard_pb2.GetRankRequest(user_id=user_id).SerializeToString(), {})
        for user_id in user_ids
    ]


def _is_ranked(ranks: Sequence[int], scores: Sequence[float]) -> bool:
    return list(ranks) == list(range(1, TOP + 1)) and list(scores) == sorted(scores, reverse=True)
