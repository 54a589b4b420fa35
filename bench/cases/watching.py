"""A thousand watchers on WebSockets through the gateway: how soon they see an update, and what they cost updates."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import picows

from bench import load, pushes
from bench.figure import Figure, Goal
from bench.h2 import Request
from bench.mesh import Mesh
from bench.stage import REPEATS, Stage, repeat
from bench.watching import watchers
from scoreboard.v1 import auth_pb2, score_pb2, score_pb2_grpc, signing

WATCHERS = 1_000
SAMPLED = 50  # of them, by sockets of this process: what the process of the others is behind with is no server's delay
P50_GOAL, P99_GOAL = Goal(60.0), Goal(100.0)
PER_SECOND, WARM_UP_S, SCREEN_S = 500, 2, 8
SHOWN = pushes.ROWS  # players whom a watcher sees; the others play below
LEAD_UPDATES, LEAD_POINTS = 50, 500
SHOWN_TIMEOUT_S = 15.0
UPDATES = 6_000
STILL_GOAL = Goal(0.85, is_most=False)

Scores = dict[str, int]


async def screen(stage: Stage) -> list[Figure]:
    """From sending an update, 500 a second, to the frame that shows it at one of 1,000 watchers."""
    sessions = await stage.sessions()
    scores = await _lead(stage.mesh, [session.user_id for session in sessions[:SHOWN]])
    async with _crowd(stage.mesh.gateway) as samples:
        await _played(stage.mesh, sessions, scores, samples, WARM_UP_S)
        runs = [sorted(await _played(stage.mesh, sessions, scores, samples, SCREEN_S)) for _ in range(REPEATS)]
    p50_ms, p99_ms = ([run[int(share * len(run))] for run in runs] for share in (0.50, 0.99))
    return [
        Figure("send to screen, 1,000 watchers: p50", p50_ms, "ms", P50_GOAL),
        Figure("send to screen, 1,000 watchers: p99", p99_ms, "ms", P99_GOAL),
    ]


async def watched(stage: Stage) -> list[Figure]:
    """Unary updates, 64 in flight, while 1,000 watchers watch and while nobody does, in turn."""
    target = stage.mesh
    sessions = await stage.sessions()

    async def run(count: int) -> load.Answers:
        return await load.send(target.gateway, load.updates(sessions, count), 64, load.is_applied)

    alone, before_all = [], []
    for _ in range(REPEATS):
        alone += await repeat(target, run, UPDATES, repeats=1)
        async with _crowd(target.gateway):
            before_all += await repeat(target, run, UPDATES, repeats=1)
    shares = [watched.per_second / one.per_second for one, watched in zip(alone, before_all, strict=True)]
    return [
        Figure("updates while nobody watches: rate", [one.per_second for one in alone], "/s"),
        Figure("updates while 1,000 watch: rate", [one.per_second for one in before_all], "/s"),
        Figure("updates while 1,000 watch: rate beside none", shares, "× none", STILL_GOAL),
    ]


class Sample(picows.WSListener):
    """A watcher whose frames are kept, each with its instant."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.newest = pushes.Board(0, ())

    def on_ws_frame(self, _: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Keeps a frame."""
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.frames.append((time.perf_counter(), frame.get_payload_as_bytes()))

    def take(self) -> list[tuple[float, pushes.Board]]:
        """Returns the boards that came since the last call."""
        frames, self.frames = self.frames, []
        boards = [(at, pushes.read_json(frame)) for at, frame in frames]
        for _, board in boards:
            self.newest = board if board.rows else self.newest
        return boards


@asynccontextmanager
async def _crowd(target: str) -> AsyncIterator[list[Sample]]:
    """Lets the watchers watch; yields the sampled ones, of whom half came before all others and half after them."""
    url = f"ws://{target}/ws/leaderboard"
    port = int(target.rpartition(":")[2])
    samples: list[Sample] = []
    async with AsyncExitStack() as stack:

        async def some() -> None:
            for _ in range(SAMPLED // 2):
                transport, sample = await picows.ws_connect(Sample, url)
                assert isinstance(sample, Sample)
                stack.callback(transport.disconnect)
                samples.append(sample)

        await some()
        crowd = await stack.enter_async_context(watchers("websocket", port, WATCHERS - SAMPLED))
        await crowd.settled()
        await some()
        yield samples
        await crowd.tally()  # raises when one of them was not served well


async def _lead(target: Mesh, user_ids: list[str]) -> Scores:
    """Puts these players above all others, and returns their scores."""
    request = score_pb2.UpdateScoresRequest()
    for user_id in user_ids * LEAD_UPDATES:
        nonce = signing.client_nonce(int(time.time() * 1000), os.urandom(10))
        request.updates.add(user_id=user_id, action_id="match-result", nonce=nonce, value=LEAD_POINTS)
    metadata = (("authorization", f"Bearer {await target.client_token()}"),)
    channel, *others = load.channels(target.gateway)
    answer = await score_pb2_grpc.ScoreServiceStub(channel).UpdateScores(request, metadata=metadata, timeout=10)
    await asyncio.gather(*(each.close() for each in (channel, *others)))
    asked = zip(request.updates, answer.results, strict=True)
    return {update.user_id: int(result.new_score) for update, result in asked}  # of each player the last stays


async def _played(
    target: Mesh, sessions: Sequence[auth_pb2.Session], scores: Scores, samples: Sequence[Sample], seconds: int
) -> list[float]:
    """Lets the players play, and adds to their scores; returns the delays of those shown, in ms, at each sample."""
    began, sent_s = dict(scores), []

    def noting(requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            sent_s.append(time.perf_counter())
            yield request

    await _shown(scores, samples)
    await load.pace(target.gateway, noting(load.updates(sessions, PER_SECOND * seconds)), PER_SECOND, load.is_applied)
    times_s: dict[str, list[float]] = {user_id: [] for user_id in scores}
    for number, at in enumerate(sent_s):
        if (user_id := sessions[number % len(sessions)].user_id) in times_s:
            times_s[user_id].append(at)
            scores[user_id] += 1
    boards = await _shown(scores, samples)
    return [delay for each in boards for delay in delays_ms(times_s, began, each)]


async def _shown(scores: Scores, samples: Sequence[Sample]) -> list[list[tuple[float, pushes.Board]]]:
    """Waits until every sample shows these scores; returns what each was sent since the last call, with its time."""
    boards: list[list[tuple[float, pushes.Board]]] = [[] for _ in samples]
    async with asyncio.timeout(SHOWN_TIMEOUT_S):
        while True:
            for sample, mine in zip(samples, boards, strict=True):
                mine += sample.take()
            if all(dict(sample.newest.rows) == scores for sample in samples):
                return boards
            await asyncio.sleep(0.05)


def delays_ms(
    times_s: Mapping[str, Sequence[float]], began: Scores, boards: Iterable[tuple[float, pushes.Board]]
) -> Iterator[float]:
    """Tells each update's delay at one watcher. times_s: when each player's updates were sent; each adds one point."""
    seen = dict.fromkeys(times_s, 0)
    for at, board in boards:
        for user_id, score in board.rows:
            updates = int(score) - began[user_id]
            yield from ((at - sent) * 1000 for sent in times_s[user_id][seen[user_id] : updates])
            seen[user_id] = max(seen[user_id], updates)
