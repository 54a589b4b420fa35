"""The load: prepared requests sent with so many calls in flight. Its own CPU is not part of any figure."""

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import grpc

from scoreboard.client import Client
from scoreboard.v1 import auth_pb2, leaderboard_pb2, leaderboard_pb2_grpc, score_pb2, score_pb2_grpc, signing

CONNECTIONS = 4


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


def updates(
    open_channels: Sequence[grpc.aio.Channel], sessions: Sequence[auth_pb2.Session], count: int
) -> list[Callable[[], Awaitable[int]]]:
    """Prepares unary updates of the players in turn, signed, each with its own nonce."""
    stubs = [score_pb2_grpc.ScoreServiceStub(channel) for channel in open_channels]

    def prepare(number: int) -> Callable[[], Awaitable[int]]:
        session, stub = sessions[number % len(sessions)], stubs[number % len(stubs)]
        nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
        key = base64.urlsafe_b64decode(session.signing_key + "=")
        signature = signing.sign(key, signing.update_payload(session.user_id, "collect-coin", nonce))
        request = score_pb2.UpdateScoreRequest(user_id=session.user_id, action_id="collect-coin", nonce=nonce)
        metadata = (("authorization", f"Bearer {session.access_token}"), ("x-signature", signature))

        async def call() -> int:
            answer = await stub.UpdateScore(request, metadata=metadata, timeout=10)
            assert answer.status == score_pb2.APPLIED, answer
            return 1

        return call

    return [prepare(number) for number in range(count)]


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
            request.updates.add(user_id=user_id, action_id="collect-coin", nonce=nonce)

        async def call() -> int:
            answer = await stub.UpdateScores(request, metadata=metadata, timeout=10)
            assert all(result.status == score_pb2.APPLIED for result in answer.results), answer
            return len(answer.results)

        return call

    return [prepare(number) for number in range(count)]


def tops(open_channels: Sequence[grpc.aio.Channel], count: int) -> list[Callable[[], Awaitable[int]]]:
    """Prepares reads of the top 10."""
    stubs = [leaderboard_pb2_grpc.LeaderboardServiceStub(channel) for channel in open_channels]
    request = leaderboard_pb2.GetLeaderboardRequest(limit=10)

    def prepare(number: int) -> Callable[[], Awaitable[int]]:
        async def call() -> int:
            answer = await stubs[number % len(stubs)].GetLeaderboard(request, timeout=10)
            assert len(answer.leaderboard) == 10, answer
            return 1

        return call

    return [prepare(number) for number in range(count)]
