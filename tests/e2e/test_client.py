"""The Python client at a whole mesh: sessions that renew, scores that count once, watches that come back."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import grpc
import pytest

from scoreboard.client import Client, ScoreboardError, Session, Snapshot, Status, SyncClient
from scoreboard.client.connection import OPTIONS
from scoreboard.client.steps import World
from tests.gate import Direction, gate_to
from tests.meshes import Mesh
from tests.waiting import SCALE, eventually

PASSWORD = "correct horse battery staple"
DEADLINE_S = 15.0 * SCALE
LATE_S = 6.0 * SCALE  # score_svc says that an update waits after 2 s


def connected(mesh: Mesh) -> Client:
    return Client(mesh.url, deadline_s=DEADLINE_S)


def a_name() -> str:
    return f"c-{secrets.token_hex(6)}"


@pytest.fixture
async def player(running: Mesh) -> AsyncIterator[Client]:
    """A client that has just signed up."""
    async with connected(running) as client:
        await client.register(a_name(), PASSWORD)
        yield client


@pytest.fixture
def blocking(running: Mesh) -> Iterator[SyncClient]:
    """The same without asyncio; its calls belong into a thread, where the loop is needed meanwhile."""
    with SyncClient(running.url, deadline_s=DEADLINE_S) as client:
        client.register(a_name(), PASSWORD)
        yield client


def copy(session: Session) -> Session:
    return Session.FromString(session.SerializeToString())


async def has_points(player: Client, points: int) -> bool:
    try:
        return (await player.rank()).score == points
    except ScoreboardError:
        return False


async def kill(mesh: Mesh, name: str) -> None:
    """Kill a process of the mesh and wait until another has its place."""
    pid = mesh.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: mesh.pid(name) not in (None, pid), 60, f"another {name}")


async def test_login_brings_a_session_of_the_same_player(running: Mesh, player: Client) -> None:
    name = (await player.score("win-round")).username
    async with connected(running) as other:
        session = await other.login(name, PASSWORD)
        assert (other.user_id, session.token_type) == (player.user_id, "Bearer")
        with pytest.raises(ScoreboardError) as refused:
            await other.login(name, "wrong " + PASSWORD)
        assert refused.value.reason == "BAD_CREDENTIALS"
        assert (await other.score("win-round")).new_score == 100


async def test_a_guest_plays_and_becomes_an_account_and_is_erased(running: Mesh) -> None:
    name = a_name()
    async with connected(running) as client:
        session = await client.guest("Gwen")
        assert (await client.score("win-round")).username == "Gwen"
        profile = await client.update_profile(name, new_password=PASSWORD)
        assert (profile.user_id, profile.username) == (session.user_id, name)
    ended: list[Session | None] = []
    async with Client(running.url, on_session=ended.append) as another:
        await another.login(name, PASSWORD)
        assert (await another.score("win-round")).new_score == 100
        with pytest.raises(ScoreboardError, match="BAD_CREDENTIALS"):
            await another.delete_account("wrong " + PASSWORD)
        await another.delete_account(PASSWORD)
        assert [one is None for one in ended] == [False, True]
        with pytest.raises(ScoreboardError, match="UNKNOWN_USER"):
            await another.rank(session.user_id)


async def test_a_session_that_was_kept_renews_itself_once_for_all_calls(running: Mesh, player: Client) -> None:
    kept, renewed = copy(player.session), list[Session | None]()
    kept.server_time -= 1000 * kept.expires_in
    async with Client(running.url, on_session=renewed.append) as later:
        later.resume(kept)
        updates = await asyncio.gather(*(later.score("collect-coin") for _ in range(4)))
        assert max(update.new_score or 0 for update in updates) == 4
        assert renewed == [later.session]
        assert later.session.access_token != kept.access_token
        assert later.session.refresh_token != kept.refresh_token
        assert later.session.signing_key == kept.signing_key


async def test_a_lost_answer_to_a_refresh_costs_no_session(running: Mesh, player: Client) -> None:
    kept = copy(player.session)
    first = await player.refresh()
    async with connected(running) as again:
        again.resume(kept)
        assert (await again.refresh()).refresh_token == first.refresh_token
        assert (await again.score("win-round")).new_score == 50


async def test_a_refresh_whose_caller_is_cancelled_costs_no_session(running: Mesh, player: Client) -> None:
    renewed: list[Session | None] = []
    async with (
        gate_to(running.port) as gate,
        Client(f"127.0.0.1:{gate.port}", deadline_s=DEADLINE_S, on_session=renewed.append) as client,
    ):
        client.resume(player.session)
        await client.top()  # the connection is there
        gate.freeze(Direction.BACK)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.refresh(), 0.3)
        assert not renewed
        await gate.heal()
        await eventually(lambda: renewed, 20, "the new tokens")
        assert renewed == [client.session]


async def test_a_call_that_its_client_s_end_cuts_short_is_unknown(running: Mesh, player: Client) -> None:
    async with gate_to(running.port) as gate, Client(f"127.0.0.1:{gate.port}", deadline_s=DEADLINE_S) as client:
        client.resume(player.session)
        await client.top()
        gate.freeze(Direction.BACK)
        scoring = asyncio.create_task(client.score("win-round"))
        await eventually(lambda: has_points(player, 50), 20, "the points")
        await client.close()
        with pytest.raises(ScoreboardError, match="closed") as unknown:
            await scoring
        assert unknown.value.is_unknown
        await gate.heal()
    assert (await player.score("win-round", nonce=unknown.value.nonce)).new_score == 50


async def test_a_score_repeated_with_its_nonce_counts_once(player: Client) -> None:
    nonce = player.nonce()
    first = await player.score("win-round", nonce=nonce)
    again = await player.score("win-round", nonce=nonce)
    assert again == first
    assert await player.get_update(first.update_id) == first
    assert (await player.rank()).score == 50
    assert [(row.user_id, row.score) for row in (await player.around(limit=1)).leaderboard if row.score == 50]


@pytest.mark.parametrize("off_s", [120, -400])
async def test_where_the_clock_is_refused_the_server_s_nonces_count(player: Client, off_s: float) -> None:
    player._plans.caller.world = World(unix_s=lambda: time.time() + off_s)
    assert (await player.score("win-round")).new_score == 50
    with pytest.raises(ScoreboardError) as refused:
        await player.score("win-round", nonce=player.nonce())
    assert refused.value.reason in ("NONCE_MALFORMED", "NONCE_EXPIRED")
    nonces = await player.issue_nonces("collect-coin", 2)
    assert [(await player.score("collect-coin", nonce=nonce)).new_score for nonce in nonces] == [51, 52]


async def test_a_refusal_has_its_reason_and_its_delay(player: Client) -> None:
    assert (await player.score("daily-bonus")).points == 100
    with pytest.raises(ScoreboardError) as capped:
        await player.score("daily-bonus")
    assert capped.value.reason == "CAP_REACHED"
    assert 0 < (capped.value.retry_after_s or 0) <= 86_400
    assert (capped.value.is_unknown, capped.value.nonce) == (False, "")


async def test_a_score_whose_service_is_killed_counts_once(breakable: Mesh, player: Client) -> None:
    await kill(breakable, "score_svc")
    assert (await player.score("win-round", deadline_s=60 * SCALE)).new_score == 50
    assert (await player.score("collect-coin")).new_score == 51


async def test_at_a_short_deadline_it_is_unknown_and_the_same_nonce_settles_it(breakable: Mesh, player: Client) -> None:
    pid = breakable.pid("score_svc")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ScoreboardError) as unknown:
            await player.score("win-round", deadline_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert unknown.value.is_unknown
    await breakable.until_whole()
    assert (await player.score("win-round", nonce=unknown.value.nonce)).new_score == 50
    assert (await player.score("collect-coin")).new_score == 51


async def test_a_score_whose_answer_the_network_lost_counts_once(running: Mesh, player: Client) -> None:
    async with gate_to(running.port) as gate, Client(f"127.0.0.1:{gate.port}", deadline_s=DEADLINE_S) as client:
        client.resume(player.session)
        await client.top()  # the connection is there
        gate.freeze(Direction.BACK)
        scoring = asyncio.create_task(client.score("win-round"))
        await eventually(lambda: has_points(player, 50), 20, "the points")
        gate.cut()
        await gate.heal()
        assert (await scoring).new_score == 50
        assert (await client.score("collect-coin")).new_score == 51


async def test_a_watch_leaves_a_connection_that_nobody_answers_on(
    running: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = dict(OPTIONS) | {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    monkeypatch.setattr("scoreboard.client.aio.OPTIONS", tuple(quick.items()))
    told: list[ScoreboardError | None] = []
    async with (
        gate_to(running.port) as gate,
        Client(f"127.0.0.1:{gate.port}") as client,
        aclosing(client.watch(1, board="weekly", on_state=told.append)) as boards,
    ):
        await anext(boards)
        gate.freeze()
        waiting = asyncio.create_task(anext(boards))
        await eventually(lambda: told, 20, "that the connection is given up")
        await gate.heal()
        await eventually(lambda: told[-1] is None, 20, "another connection")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert told[0] is not None
    assert told[0].code is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_comes_back_when_its_service_was_killed(breakable: Mesh, player: Client) -> None:
    told: list[ScoreboardError | None] = []
    watch = player.watch(limit=100, me=True, on_state=told.append)
    async with asyncio.timeout(120 * SCALE), aclosing(watch) as boards:
        before = await anext(boards)
        await kill(breakable, "stream_svc")
        score = (await player.score("daily-bonus")).new_score
        async for board in boards:
            assert board.version >= before.version
            if board.me is not None and board.me.score == score == 100:
                break
    assert told[0] is not None
    assert told[-1] is None


class Enough(Exception):  # noqa: N818
    """The end of a test's watch."""


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
async def test_a_watch_that_hears_nothing_connects_again(
    running: Mesh, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "aio" if kind == "asyncio" else kind
    monkeypatch.setattr(f"scoreboard.client.{module}.SILENCE_S", 0.3)
    monkeypatch.setattr("scoreboard.client.blocking.LOOK_EVERY_S", 0.05)
    told: list[ScoreboardError | None] = []

    def take(error: ScoreboardError | None) -> None:
        told.append(error)
        if error is None:
            raise Enough

    def watch_blocking() -> None:
        with SyncClient(running.url) as client, closing(client.watch(1, board="weekly", on_state=take)) as boards:
            for _ in boards:
                pass

    async def watch() -> None:
        async with connected(running) as client, aclosing(client.watch(1, board="weekly", on_state=take)) as boards:
            async for _ in boards:
                pass

    with pytest.raises(Enough):
        await (watch() if kind == "asyncio" else asyncio.to_thread(watch_blocking))
    # On a busy machine the first frame, too, may be later than that, of one connection or several.
    *silences, back = [error and error.code for error in told]
    assert back is None
    assert silences
    assert set(silences) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


async def test_a_watch_of_no_board_says_so_instead_of_coming_back(player: Client, blocking: SyncClient) -> None:
    with pytest.raises(ScoreboardError) as refused:
        await anext(player.watch(board="no-such-board"))
    assert refused.value.reason == "UNKNOWN_BOARD"
    with pytest.raises(ScoreboardError, match="UNKNOWN_BOARD"):
        next(blocking.watch(board="no-such-board"))


async def test_a_watch_of_one_s_own_place_lives_on_with_new_tokens(running: Mesh, player: Client) -> None:
    over = copy(player.session)
    over.access_token = over.access_token[:-8] + "AAAAAAAA"
    over.server_time += 1e9
    async with connected(running) as client:
        client.resume(over)
        with pytest.raises(ScoreboardError, match="TOKEN_INVALID"):
            await anext(client.watch(me=True))
        await client.refresh()
        assert (await anext(client.watch(me=True))).me is not None


def test_threads_share_a_client_that_needs_no_asyncio(running: Mesh, blocking: SyncClient) -> None:
    kept = copy(blocking.session)
    kept.server_time -= 1000 * kept.expires_in
    renewed: list[Session | None] = []
    with SyncClient(running.url, on_session=renewed.append) as client:
        client.resume(kept)
        with closing(client.watch(100, me=True)) as boards:
            first = next(boards)
            threads = [threading.Thread(target=client.score, args=("collect-coin",)) for _ in range(4)]
            for thread in threads:
                thread.start()
            board = next(board for board in boards if board.me is not None and board.me.score == 4)
            for thread in threads:
                thread.join()
        assert board.version > first.version
        assert client.score("win-round").new_score == 54
        assert client.rank().score == 54
        assert {"all", "daily", "weekly"} <= {board.name for board in client.boards()}
    assert len(renewed) == 1


async def test_a_watch_ends_when_its_client_is_closed_but_a_cancelled_one_is_cancelled(running: Mesh) -> None:
    client, came = connected(running), asyncio.Event()

    async def watch() -> None:
        async for _ in client.watch(1):
            came.set()

    async with asyncio.timeout(20 * SCALE):
        cancelled = asyncio.create_task(watch())
        await came.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        came.clear()
        closed = asyncio.create_task(watch())
        await came.wait()
        await client.close()
        await closed


def test_a_watch_ends_when_another_thread_closes_its_client(running: Mesh) -> None:
    seen: list[Snapshot] = []
    client, came = SyncClient(running.url), threading.Event()

    def watch() -> None:
        for board in client.watch(1):
            seen.append(board)
            came.set()

    thread = threading.Thread(target=watch)
    thread.start()
    assert came.wait(20 * SCALE)
    client.close()
    thread.join(20 * SCALE)
    assert not thread.is_alive()


async def test_what_waits_longer_than_the_deadline_is_pending(breakable: Mesh, player: Client) -> None:
    workers = [pid for pid in (breakable.pid("worker-1"), breakable.pid("worker-2")) if pid is not None]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        update = await player.score("win-round", deadline_s=LATE_S)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    assert (update.status, update.new_score, update.points) == (Status.PENDING, None, None)

    async def is_applied() -> bool:
        return (await player.get_update(update.update_id)).status is Status.APPLIED

    await eventually(is_applied, 30, "the update")


async def test_nothing_counts_after_a_logout(running: Mesh, player: Client) -> None:
    async with connected(running) as elsewhere:
        elsewhere.resume(player.session)
        await elsewhere.score("win-round")
        await player.logout()
        with pytest.raises(ScoreboardError) as refused:
            await elsewhere.score("win-round")
        assert refused.value.reason == "SESSION_REVOKED"
    with pytest.raises(ScoreboardError, match="Not logged in"):
        await player.score("win-round")


async def test_a_session_is_kept_by_its_bytes(running: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "session"

    def keep(session: Session | None) -> None:
        file.write_bytes(session.SerializeToString() if session else b"")

    async with Client(running.url, on_session=keep) as client:
        await client.guest()
        await client.refresh()
    async with Client(running.url) as later:
        later.resume(Session.FromString(file.read_bytes()))
        assert (await later.score("win-round")).status is Status.APPLIED
