"""The WebSocket through the gateway, by RFC 6455: each case of `websocket_cases`, handshakes, and bytes by chance."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
import websockets

from tests.meshes import Mesh
from tests.raw_websocket import CLOSE, FIN, PONG, TEXT, WAIT_S, Raw, handshake, raw_frame
from tests.sizes import Record, sized
from tests.websocket_cases import CASES, GoesOn, text, watch

SENTINEL = "weekly"  # the board that no case asks for: its frame says that all before was answered


async def answers(raw: Raw) -> tuple[list[bytes], list[str]]:
    """Returns the pongs and the reasons of refusals that come before the sentinel's board."""
    raw.writer.write(text(watch(SENTINEL)))
    pongs: list[bytes] = []
    reasons: list[str] = []
    while True:
        first, payload = await raw.frame()
        if first == FIN | PONG:
            pongs.append(payload)
        elif first == FIN | TEXT:
            body = json.loads(payload)
            if body.get("board") == SENTINEL:
                return pongs, reasons
            reasons += [body["reason"]] if "reason" in body else []
        else:
            raise AssertionError((first, payload))


async def _send(raw: Raw, data: bytes, pieces: int) -> None:
    for at in range(0, len(data), pieces):
        raw.writer.write(data[at : at + pieces])
        await asyncio.sleep(0)


async def is_kept(running: Mesh, name: str, pieces: int) -> None:
    """Fails unless the case, sent in pieces of so many bytes, gets what it must."""
    case = CASES[name]
    raw = await Raw.open(running.port)
    try:
        if isinstance(case, GoesOn):
            await _send(raw, case.data, pieces)
            assert await answers(raw) == (list(case.pongs), list(case.refusals)), name
            return
        # Read meanwhile: a write that fails, once the other side has hung up, would take what was not read by then.
        closing = asyncio.create_task(raw.close_code(), name=f"close of {name}")
        await _send(raw, case.data, pieces)
        assert await closing == case.code, name
        assert await raw.is_cut(), name
    finally:
        raw.writer.close()


@pytest.mark.promise(row=39)
@pytest.mark.parametrize("group", sorted({name[0] for name in CASES}))
async def test_a_group_of_cases(running: Mesh, group: str, record_property: Record) -> None:
    names = [name for name in CASES if name[0] == group]
    await asyncio.gather(*(is_kept(running, name, pieces=100_000) for name in names))
    record_property("faults", len(names))


@pytest.mark.promise(row=39)
async def test_each_case_in_pieces_of_one_byte(running: Mesh) -> None:
    small = [name for name, case in CASES.items() if len(case.data) < sized(150, 6_000)]
    await asyncio.gather(*(is_kept(running, name, pieces=1) for name in small))


HANDSHAKES: dict[str, tuple[bytes, int]] = {
    "good": (handshake(), 101),
    "words as Firefox has them": (handshake({"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"}), 101),
    "an extension on offer": (handshake({"Sec-WebSocket-Extensions": "permessage-deflate"}), 101),
    "a protocol on offer": (handshake({"Sec-WebSocket-Protocol": "graphql-ws"}), 101),
    "a query": (handshake(path="/ws/leaderboard?access_token=x"), 101),
    "old version": (handshake({"Sec-WebSocket-Version": "8"}), 426),
    "no version": (handshake({"Sec-WebSocket-Version": ""}), 426),
    "no key": (handshake({"Sec-WebSocket-Key": ""}), 400),
    "no upgrade": (handshake({"Upgrade": "", "Connection": ""}), 426),
    "another path": (handshake(path="/ws/other"), 400),
    "a page of ours": (handshake({"Host": "board.test", "Origin": "http://board.test"}), 101),
    "a page of another's": (handshake({"Host": "board.test", "Origin": "http://evil.test"}), 403),
    "another method": (handshake({"Content-Length": "0"}, method="POST"), 404),
}


async def shake(port: int, data: bytes) -> tuple[int, str]:
    """Returns the status and the head of what a handshake gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)).decode()
        return int(head.split(" ", 2)[1]), head.lower()
    finally:
        writer.close()


@pytest.mark.promise(row=39)
@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake(running: Mesh, name: str) -> None:
    data, status = HANDSHAKES[name]
    got, head = await shake(running.port, data)
    assert got == status, head
    assert "sec-websocket-extensions" not in head, "none is spoken here"
    assert "sec-websocket-protocol" not in head
    if status == 426:
        assert "sec-websocket-version: 13" in head


@pytest.mark.promise(row=39)
async def test_bytes_by_chance_end_at_most_their_own_connection(running: Mesh, record_property: Record) -> None:
    """Mutated cases and noise; the client beside them sees its board all the time."""
    storms = sized(60, 5_000)
    datas = [case.data for case in CASES.values() if len(case.data) < 1_000]

    async def storm() -> None:
        raw = await Raw.open(running.port)
        data = bytearray(random.choice(datas) + random.randbytes(random.randrange(40)))
        for _ in range(random.randrange(1, 5)):
            data[random.randrange(len(data))] = random.randrange(256)
        raw.writer.write(bytes(data) + raw_frame(FIN | CLOSE))
        raw.writer.write_eof()
        await raw.close_code()
        raw.writer.close()

    url = running.url.replace("http", "ws", 1) + "/ws/leaderboard"
    async with websockets.connect(url) as bystander:
        await bystander.recv()
        for at in range(0, storms, 20):
            await asyncio.gather(*(storm() for _ in range(min(20, storms - at))))
        await bystander.send(watch(SENTINEL).decode())
        while json.loads(await asyncio.wait_for(bystander.recv(), WAIT_S)).get("board") != SENTINEL:
            pass
    record_property("faults", storms)
