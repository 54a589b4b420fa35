"""The WebSocket of stream_svc: what clients may say, and what becomes of those that break the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import redis.asyncio
import websockets

from board import keys
from tests.raw_websocket import CONTINUATION, FIN, PING, TEXT, Raw, raw_frame
from tests.servers import Database, RedisServer
from tests.watching import Streams, streaming
from tests.websocket_cases import CASES, Closes


@pytest.fixture(scope="module")
async def module_streams(
    module_database: Database, module_view: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Streams]:
    folder = tmp_path_factory.mktemp("stream_svc")
    async with streaming(module_database, module_view, folder, players=100) as running:
        yield running


@pytest.fixture
async def streams(module_streams: Streams) -> Streams:
    """The module's service, which shows p1 = 20 and p2 = 10."""
    await module_streams.reset()
    return module_streams


async def test_watch_replaces_the_set_of_boards(streams: Streams) -> None:
    day = streams.boards.world.catalogue.boards["daily"]
    async with streams.socket() as socket:
        assert (await socket.next())["board"] == "all"
        await socket.say(watch=[{"board": "daily"}, {"board": "all", "limit": 1}])
        frames = [await socket.next(), await socket.next()]
        assert {(frame["board"], len(frame["leaderboard"])) for frame in frames} == {("daily", 0), ("all", 1)}
        await socket.say(watch=[])
        await socket.say(watch=[{"board": "weekly"}])
        assert (await socket.next())["board"] == "weekly"
        assert day.name == "daily"


BAD_MESSAGES: list[tuple[str | bytes, str]] = [
    ("nonsense", "INVALID_ARGUMENT"),
    ("[]", "INVALID_ARGUMENT"),
    ("null", "INVALID_ARGUMENT"),
    ("{}", "INVALID_ARGUMENT"),
    ('{"watch": [], "authorization": "Bearer x"}', "INVALID_ARGUMENT"),
    ('{"watch": {"board": "all"}}', "INVALID_ARGUMENT"),
    ('{"watch": ["all"]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": 1}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": 0}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": 101}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "limit": true}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all"}, {"board": "all", "limit": 5}]}', "INVALID_ARGUMENT"),
    (json.dumps({"watch": [{"board": f"b{n}"} for n in range(11)]}), "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "all", "rows": 1}]}', "INVALID_ARGUMENT"),
    ('{"watch": [{"board": "nowhere"}]}', "UNKNOWN_BOARD"),
    ('{"authorization": "Bearer nonsense"}', "TOKEN_INVALID"),
    ('{"authorization": 1}', "INVALID_ARGUMENT"),
    (b'{"watch": []}', "INVALID_ARGUMENT"),
    ("[" * 4000, "INVALID_ARGUMENT"),
]


@pytest.mark.promise(row=39)
async def test_a_bad_message_is_answered_and_the_board_goes_on(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        for message, reason in BAD_MESSAGES:
            await socket.connection.send(message)
            refusal = await socket.refusal()
            assert set(refusal) == {"success", "error", "message", "reason"}
            assert refusal["reason"] == reason, message
        await streams.boards.score(1, 77)
        await socket.until(("p1", 77), ("p2", 10))


async def test_more_messages_than_can_be_answered_are_refused(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        for _ in range(200):
            await socket.say(watch=[{"board": "nowhere"}])
        reasons = [(await socket.refusal())["reason"] for _ in range(200)]
        assert set(reasons) <= {"UNKNOWN_BOARD", "RATE_LIMITED"}


async def test_a_token_brings_the_own_place_until_the_session_ends(streams: Streams, module_view: RedisServer) -> None:
    async with streams.socket() as socket:
        assert "me" not in await socket.next()
        await socket.say(authorization=streams.bearer("p2", sid="left"))
        assert (await socket.next())["me"] == {"rank": 2, "score": 10}
        async with redis.asyncio.Redis.from_url(module_view.url("auth_svc")) as auth:
            await auth.set(keys.deny("left"), "1")
        assert (await socket.refusal())["reason"] == "SESSION_REVOKED"
        await streams.boards.score(2, 11)
        assert "me" not in await socket.until(("p1", 20), ("p2", 11))
        await socket.say(authorization=streams.bearer("p2"))
        assert (await socket.next())["me"] == {"rank": 2, "score": 11}


@pytest.mark.promise(row=39)
async def test_an_oversized_message_closes(streams: Streams) -> None:
    async with streams.socket() as socket:
        await socket.next()
        await socket.connection.send("x" * 4097)
        assert await socket.close_code() == 1009


@pytest.mark.promise(row=39)
async def test_a_message_in_fragments_counts_as_one(streams: Streams) -> None:
    raw = await Raw.open(streams.http_port)
    text = json.dumps({"watch": [{"board": "weekly"}]}).encode()
    raw.writer.write(raw_frame(TEXT, text[:9]) + raw_frame(FIN | PING, b"hi") + raw_frame(CONTINUATION, b""))
    raw.writer.write(raw_frame(FIN | CONTINUATION, text[9:]))
    assert await raw.frame() == (FIN | 0xA, b"hi")
    first, payload = await raw.frame()
    assert first == FIN | TEXT
    assert json.loads(payload)["board"] == "weekly"
    raw.writer.close()


@pytest.mark.promise(row=39)
async def test_who_breaks_the_protocol_is_told_and_hung_up_on(streams: Streams) -> None:
    async with streams.socket() as bystander:
        await bystander.next()

        async def is_told(name: str, case: Closes) -> None:
            raw = await Raw.open(streams.http_port)
            raw.writer.write(case.data)
            assert await raw.close_code() == case.code, name
            assert await raw.is_cut(), name
            raw.writer.close()

        await asyncio.gather(*(is_told(name, case) for name, case in CASES.items() if isinstance(case, Closes)))
        await streams.boards.score(1, 78)
        await bystander.until(("p1", 78), ("p2", 10))


@pytest.mark.promise(row=39)
async def test_whatever_is_no_websocket_gets_the_error_body(streams: Streams) -> None:
    base = f"http://127.0.0.1:{streams.http_port}"
    async with httpx.AsyncClient() as http:
        plain = await http.get(f"{base}/ws/leaderboard")
        assert (plain.status_code, plain.json()["reason"]) == (426, "INVALID_ARGUMENT")
        assert plain.headers["sec-websocket-version"] == "13"
        elsewhere = await http.get(f"{base}/ws/other")
        assert (elsewhere.status_code, elsewhere.json()["reason"]) == (404, "NOT_FOUND")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"ws://127.0.0.1:{streams.http_port}/ws")
    assert refused.value.response.status_code == 404


async def test_past_the_bound_on_watchers_newcomers_are_refused(streams: Streams) -> None:
    async with streams.another(stream_watchers_max=2) as small:
        async with small.socket() as one, small.socket() as two:
            await one.next()
            await two.next()
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(small.url)
            assert refused.value.response.status_code == 429
            assert json.loads(refused.value.response.body or b"")["reason"] == "QUEUE_FULL"
            await one.say(watch=[{"board": "daily"}, {"board": "weekly"}])
            assert (await one.refusal())["reason"] == "QUEUE_FULL"
        async with small.socket() as three:
            await three.next()


async def test_each_board_of_a_websocket_counts_for_its_address(streams: Streams) -> None:
    boards = [{"board": name} for name in ("all", "daily", "weekly")]
    theirs, others = ({"x-forwarded-for": f"203.0.113.{n}"} for n in (1, 2))
    async with streams.another(stream_per_address_max=4) as small:
        async with small.socket(additional_headers=theirs) as one, small.socket(additional_headers=theirs) as two:
            await one.next()
            await two.next()
            await one.say(watch=boards)
            await one.next()
            await two.say(watch=boards[1:])
            assert (await two.refusal())["reason"] == "RATE_LIMITED"
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(small.url, additional_headers=theirs)
            async with small.socket(additional_headers=others) as other:
                await other.say(watch=boards)
                await other.next()
            await one.say(watch=boards[:2])
            await two.say(watch=boards[1:])
            assert (await two.next())["board"] in ("daily", "weekly")
        async with small.socket(additional_headers=theirs) as three:
            await three.say(watch=boards)
            assert await three.next()


@pytest.mark.promise(row=33)
async def test_a_client_that_stops_reading_is_cut_off_and_harms_nobody(streams: Streams) -> None:
    async with streams.another(stream_write_timeout_s=2) as strict:
        for number in range(1, 101):
            await strict.boards.score(number, number)
        slow = await Raw.open(strict.http_port, receive_bytes=4096)
        slow.writer.write(raw_frame(FIN | TEXT, json.dumps({"watch": [{"board": "all", "limit": 100}]}).encode()))
        async with strict.socket() as quick:
            score = 1000
            while not await slow.is_forgotten(strict.http_port):  # it reads nothing from here on
                score += 1
                assert score < 20_000, "the client that does not read was never cut off"
                await strict.boards.score(1, score)
                frame = await quick.next()
                while not frame["leaderboard"] or frame["leaderboard"][0]["score"] != score:
                    frame = await quick.next()
        slow.writer.close()
