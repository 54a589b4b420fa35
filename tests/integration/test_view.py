"""board/view.py: stale writes lose, rebuilds race nobody, an emptied Redis is noticed."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from redis.asyncio import Redis

from board import keys, view
from board.entry import Entry, UserName
from board.ledger import read_names
from board.order import encode_user
from board.read import NotReady
from board.read_redis import RedisReader
from board.verify import verify
from board.version import split_version
from tests.boards import START, World, add_players, apply_rows, make_world, put_entries, row
from tests.servers import Database, RedisServer
from tests.sizes import Record, sized
from tests.waiting import eventually


@pytest.fixture
async def world(database: Database, redis_view: RedisServer) -> AsyncIterator[World]:
    async with make_world(database, redis_view) as made:
        yield made


async def _versions(world: World) -> dict[str, str]:
    found = await world.redis.hgetall(keys.versions(world.all))
    return {str(user, "ascii"): str(version, "ascii") for user, version in found.items()}  # type: ignore[arg-type]


@pytest.mark.promise(row=13)
async def test_shuffled_stale_writes_leave_the_board_as_postgres_has_it(world: World, record_property: Record) -> None:
    """Decreases and hides are among them."""
    refs = await add_players(world, 40)
    latest: dict[int, Entry] = {}
    writes = []
    for _ in range(sized(1_000, 10_000)):
        ref = random.choice(refs)
        before = latest.get(ref, Entry(world.all, ref, 0, START, 0, hidden=False))
        at = START + timedelta(seconds=random.randrange(60))
        latest[ref] = before._replace(
            score=before.score + random.randrange(-50, 60),
            reached_at=max(before.reached_at, at),
            version=before.version + 1,
            hidden=random.random() < 0.2,
        )
        writes.append(latest[ref])
    await put_entries(world, list(latest.values()))
    names = await read_names(world.worker, refs)
    await view.rebuild(world.worker, world.redis, world.key("daily", START))
    await view.rebuild(world.worker, world.redis, world.all)
    await world.redis.delete(keys.places(world.all), keys.versions(world.all))  # empty, and still readable
    record_property("updates", len(writes))
    random.shuffle(writes)
    while writes:
        size = random.randrange(1, 40)
        batch, writes = writes[:size], writes[size:]
        assert await view.write_entries(world.redis, batch, names) == frozenset()
    found = await RedisReader(world.redis).top(world.all, 0, 100)
    expected = sorted((e for e in latest.values() if not e.hidden), key=lambda e: (-e.score, e.reached_at, e.user_ref))
    assert [(r.user_id, r.score) for r in found.rows] == [(f"p{e.user_ref}", e.score) for e in expected]
    assert {user: version.split(" ")[0] for user, version in (await _versions(world)).items()} == {
        encode_user(ref): str(entry.version) for ref, entry in latest.items()
    }


async def test_a_rebuild_that_fails_leaves_its_caller_uncancelled(world: World) -> None:
    """A task that stays asked to cancel is ended by its next timeout on Python 3.11.2, which Debian 12 has."""
    refs = await add_players(world, 3)
    await apply_rows(world, [row(f"p{n + 1}", ref, "first", 10) for n, ref in enumerate(refs)], ["p1", "p2", "p3"])

    def fail(written: int) -> None:
        raise ConnectionError("Redis is away")

    with pytest.raises(ConnectionError):
        await view.rebuild(world.worker, world.redis, world.all, on_written=fail)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.promise(row=14)
async def test_rebuilds_race_writers_without_a_partial_board_or_an_old_score(
    world: World, record_property: Record
) -> None:
    """Writers deliver late and out of order, as fast as they can."""
    players, rebuilds = 300, sized(5, 50)
    refs = await add_players(world, players)
    first = [row(f"p{n + 1}", ref, "first", 10) for n, ref in enumerate(refs)]
    await apply_rows(world, first, [f"p{n + 1}" for n in range(players)])
    names = {name.user_ref: name for name in await read_names(world.worker, refs)}
    await view.rebuild(world.worker, world.redis, world.all)
    done = asyncio.Event()
    numbers = count()
    partial: list[int] = []
    seen: dict[str, int] = {}
    fallen: list[str] = []

    async def write(source: random.Random) -> None:
        late: list[Entry] = []
        while not done.is_set():
            chosen = source.sample(range(players), 10)
            rows = [row(f"p{i + 1}", refs[i], f"n{next(numbers)}", source.randrange(1, 9)) for i in chosen]
            late += await apply_rows(world, rows, [f"p{i + 1}" for i in chosen])
            if len(late) > 60:
                source.shuffle(late)
                await view.write_entries(world.redis, late[:50], [names[e.user_ref] for e in late[:50]])
                del late[:50]
        await view.write_entries(world.redis, late, list(names.values()))

    async def watch() -> None:
        reader = RedisReader(world.redis)
        while not done.is_set():
            page = await reader.top(world.all, 0, 100)  # NotReady would fail the test: it was ready before
            if page.players != players or len(page.rows) != 100:
                partial.append(page.players)
            for line in page.rows:
                if line.score < seen.get(line.user_id, 0):
                    fallen.append(line.user_id)
                seen[line.user_id] = line.score
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(write(random.Random(random.random())), name=f"writer {number}")
        tasks.create_task(watch(), name="watcher")
        epochs = []
        for _ in range(rebuilds):
            before = next(numbers)
            rebuilt = await view.rebuild(world.worker, world.redis, world.all)
            assert rebuilt is not None
            epochs.append(rebuilt.epoch)
            await eventually(lambda before=before: next(numbers) > before + 100)  # type: ignore[misc]
        done.set()
    record_property("faults", rebuilds)
    record_property("updates", next(numbers))
    assert (partial, fallen) == ([], [])
    assert epochs == sorted(set(epochs))
    for board in ("daily", "weekly"):
        await view.rebuild(world.worker, world.redis, world.key(board, START))
    assert (await verify(world.owner, world.redis)).differences == ()


async def test_of_two_rebuilds_the_later_one_wins(world: World) -> None:
    refs = await add_players(world, 2_000)
    await put_entries(world, [Entry(world.all, ref, 1, START, 1, hidden=False) for ref in refs])
    results = await asyncio.gather(*(view.rebuild(world.worker, world.redis, world.all) for _ in range(3)))
    won = [result for result in results if result is not None]
    assert len(won) >= 1
    assert (await RedisReader(world.redis).top(world.all, 0, 1)).players == 2_000


async def test_an_emptied_redis_asks_for_a_rebuild_and_the_version_rises(world: World, redis_view: RedisServer) -> None:
    (ref,) = await add_players(world, 1)
    entries = await apply_rows(world, [row("p1", ref, "a", 5)], ["p1"])
    names = await read_names(world.worker, [ref])
    boards = {entry.board for entry in entries}
    for board in boards:
        await view.rebuild(world.worker, world.redis, board)
    before = (await RedisReader(world.redis).top(world.all, 0, 1)).version
    async with Redis.from_url(redis_view.url()) as owner:
        await owner.flushall()
    assert await view.write_entries(world.redis, entries, names) == boards
    assert not await view.is_ready(world.redis, world.all)
    await view.rebuild(world.worker, world.redis, world.all)
    assert await view.is_ready(world.redis, world.all)
    after = (await RedisReader(world.redis).top(world.all, 0, 1)).version
    assert after > before
    assert split_version(after)[1] == 0


async def test_a_suspect_board_is_not_served_while_it_is_built(world: World) -> None:
    await view.rebuild(world.worker, world.redis, world.all)
    reader = RedisReader(world.redis)
    assert (await reader.top(world.all, 0, 1)).players == 0
    build = asyncio.create_task(view.rebuild(world.worker, world.redis, world.all, suspect=True), name="rebuild")
    while not build.done():
        try:
            epoch, _ = split_version((await reader.top(world.all, 0, 1)).version)
            assert epoch in (1, 2)
        except NotReady:
            pass
        await asyncio.sleep(0)
    assert (await reader.top(world.all, 0, 1)).version == split_version(0)[0] + (2 << 32)


async def test_each_write_tells_the_feed_which_board_changed(world: World, redis_view: RedisServer) -> None:
    (ref,) = await add_players(world, 1)
    async with Redis.from_url(redis_view.url("stream_svc")) as listener, listener.pubsub() as feed:
        await feed.subscribe(keys.FEED)
        await view.rebuild(world.worker, world.redis, world.all)
        entry = Entry(world.all, ref, 5, START, 1, hidden=False)
        name = UserName(ref, 1, "p1", "P1")
        await view.write_entries(world.redis, [entry], [name])
        await view.write_entries(world.redis, [entry], [name])  # stale: nothing changed, nothing to tell
        await view.write_entries(world.redis, [entry._replace(version=2)], [name])
        heard: list[str] = []

        async def listen() -> bool:
            message = await feed.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                heard.append(message["data"].decode())
            return len(heard) == 3

        await eventually(listen, what="three messages")
    assert heard == [f"{world.all.tag} 1 0", f"{world.all.tag} 1 1", f"{world.all.tag} 1 2"]


async def test_what_a_rebuild_writes_leaves_the_served_board_to_its_writers(world: World) -> None:
    """Its snapshot is older than they are; and to look at both boards made a rebuild a tenth dearer."""
    (ref,) = await add_players(world, 1)
    await view.rebuild(world.worker, world.redis, world.all)
    entry, name = Entry(world.all, ref, 5, START, 1, hidden=False), UserName(ref, 1, "p1", "P1")
    await view.write_entries(world.redis, [entry], [name])
    before = await RedisReader(world.redis).top(world.all, 0, 1)
    await view.write_entries(world.redis, [entry._replace(score=7, version=2)], [name], for_rebuild=True)
    assert await RedisReader(world.redis).top(world.all, 0, 1) == before


async def test_an_older_name_loses(world: World) -> None:
    (ref,) = await add_players(world, 1)
    await view.rebuild(world.worker, world.redis, world.all)
    for version, name in ((2, "New"), (1, "Old")):
        await view.write_entries(world.redis, [], [UserName(ref, version, "p1", name)])
    await view.write_entries(world.redis, [Entry(world.all, ref, 1, START, 1, hidden=False)], [])
    assert (await RedisReader(world.redis).top(world.all, 0, 1)).rows[0].username == "New"


async def test_an_erasure_that_comes_late_leaves_a_new_player_the_id(world: World) -> None:
    for ref, version, user_id in ((1, 1, "sam"), (2, 1, "sam"), (1, 2, "erased_1")):
        await view.write_entries(world.redis, [], [UserName(ref, version, user_id, "Sam")])
    refs = await world.redis.hgetall(keys.REFS)
    assert refs == {b"sam": encode_user(2).encode(), b"erased_1": encode_user(1).encode()}
    await view.write_entries(world.redis, [], [UserName(2, 2, "erased_2", "-")])
    assert await world.redis.hget(keys.REFS, "sam") is None


async def test_a_restarted_redis_learns_its_scripts_again(world: World, redis_view: RedisServer) -> None:
    (ref,) = await add_players(world, 1)
    await view.rebuild(world.worker, world.redis, world.all)
    async with Redis.from_url(redis_view.url()) as owner:
        await owner.script_flush()
    entry = Entry(world.all, ref, 1, START, 1, hidden=False)
    assert await view.write_entries(world.redis, [entry], [UserName(ref, 1, "p1", "P1")]) == frozenset()
    assert (await RedisReader(world.redis).top(world.all, 0, 1)).players == 1
