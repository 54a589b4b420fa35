"""What an operator is woken up by, brought about on a whole mesh: each fault lasts until the end of its block."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil

from board import queues
from mesh.rabbitmq import Connection
from mesh.tasks import end
from scoreboard.local import rabbitmqctl, state
from scoreboard.local.services import worker_names
from tests.e2e.commands import cli
from tests.meshes import Mesh
from tests.ops.life import again_and_again
from tests.raw_websocket import FIN, TEXT, Raw, raw_frame
from tests.waiting import eventually
from tests.workers import publish_raw
from worker.settings import WorkerSettings

HELD_S, LET_GO_S = 0.6, 0.15  # of a process that stumbles
LOOKED_AT_S = 1.5  # by a Prometheus that looks twice a second
PREFETCH: int = WorkerSettings.model_fields["worker_prefetch"].default  # messages that a worker takes while it rests
SLEEPERS = 70  # sockets that nobody reads
BOARDS = ("all", "daily", "weekly")


@contextmanager
def frozen(mesh: Mesh, *names: str) -> Iterator[None]:
    """SIGSTOP: the processes' sockets stay open, and nothing answers."""
    family = [one for name in names for one in _family(mesh, name)]
    try:
        _signal(family, signal.SIGSTOP)
        yield
    finally:
        _signal(family, signal.SIGCONT)


@asynccontextmanager
async def stumbling(mesh: Mesh, name: str) -> AsyncIterator[None]:
    """The process runs a fifth of the time, as on a core that others have."""

    async def stumble() -> None:
        while True:
            with frozen(mesh, name):
                await asyncio.sleep(HELD_S)
            await asyncio.sleep(LET_GO_S)

    async with _meanwhile(stumble()):
        yield


@asynccontextmanager
async def killed(mesh: Mesh, name: str, times: int) -> AsyncIterator[None]:
    """kill -9, and again as soon as the process that the supervisor started in its place was looked at."""
    for _ in range(times):
        await _kill(mesh, name)
        await mesh.until_whole()
        await asyncio.sleep(LOOKED_AT_S)
    yield


@asynccontextmanager
async def few_files(mesh: Mesh, name: str) -> AsyncIterator[None]:
    """The process may have hardly more files than it has open."""
    process = _process(mesh, name)
    before = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() * 10 // 9, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, before)


@asynccontextmanager
async def locked_users(mesh: Mesh) -> AsyncIterator[None]:
    """Somebody has a lock on the players' table, and whoever signs in waits for it."""

    async def sign_in(http: httpx.AsyncClient) -> None:
        await http.post("/api/auth/login", json={"username": "waits", "password": "correct horse"})

    async with AsyncExitStack() as stack:
        connection = await _owner(mesh, stack)
        await stack.enter_async_context(connection.transaction())
        await connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=mesh.url, timeout=20))
        for _ in range(40):
            await stack.enter_async_context(_meanwhile(again_and_again(lambda: sign_in(http), 0.0)))
        yield


@asynccontextmanager
async def memory_alarm(mesh: Mesh) -> AsyncIterator[None]:
    """RabbitMQ has used more memory than it may."""
    try:
        await rabbitmqctl.tell(mesh.data, "set_vm_memory_high_watermark", "0.00001")
        yield
    finally:
        await rabbitmqctl.tell(mesh.data, "set_vm_memory_high_watermark", "0.4")


@asynccontextmanager
async def resting(mesh: Mesh, *, messages: int) -> AsyncIterator[None]:
    """The workers are paused, and so many messages that are no jobs wait for them."""
    assert (await cli(mesh, "pause", "--reason", "a test of alerts")).code == 0
    try:
        await eventually(lambda: _all_rest(mesh), what="workers that rest")
        await _send_junk(mesh, messages)
        yield
    finally:
        assert (await cli(mesh, "resume", "--reason", "a test of alerts")).code == 0


@asynccontextmanager
async def deaths_with_full_hands(mesh: Mesh) -> AsyncIterator[None]:
    """Both workers die with messages in hand."""
    async with resting(mesh, messages=60):
        await asyncio.gather(*(_kill(mesh, name) for name in worker_names()))
    yield


@asynccontextmanager
async def junk(mesh: Mesh) -> AsyncIterator[None]:
    """A message that is no job."""
    await _send_junk(mesh, 1)
    yield


@asynccontextmanager
async def back_in_time(mesh: Mesh) -> AsyncIterator[None]:
    """The ledger lacks what it had a moment ago, as after an older backup was restored. `verify` will never like it."""
    async with AsyncExitStack() as stack:
        connection = await _owner(mesh, stack)
        await connection.execute("DELETE FROM score_logs WHERE applied_at > now() - interval '10 s'")
    yield


@asynccontextmanager
async def a_far_row(mesh: Mesh) -> AsyncIterator[None]:
    """A row of the ledger whose month is years ahead. That it is gone again looks as if Postgres went back in time."""
    far = UUID("03ffffff-ffff-7fff-bfff-ffffffffffff")
    async with AsyncExitStack() as stack:
        connection = await _owner(mesh, stack)
        await connection.execute(
            "INSERT INTO score_logs (id, user_ref, action_id, accepted_at)"
            " SELECT $1, min(id), 'win-round', now() FROM users",
            far,
        )
        try:
            yield
        finally:
            await connection.execute("DELETE FROM score_logs WHERE id = $1", far)


@asynccontextmanager
async def asking_for_global_boards(mesh: Mesh) -> AsyncIterator[None]:
    """Somebody reads the board of all regions, of which one is not there."""
    async with httpx.AsyncClient(base_url=mesh.url, timeout=20) as http:

        async def read() -> None:
            await http.get("/api/scores/global")

        async with _meanwhile(again_and_again(read, 0.3)):
            yield


@asynccontextmanager
async def guessing(mesh: Mesh) -> AsyncIterator[None]:
    """Somebody tries one password on many names."""
    async with httpx.AsyncClient(base_url=mesh.url, timeout=20) as http, AsyncExitStack() as stack:

        async def guess() -> None:
            name = f"guess-{os.urandom(6).hex()}"
            await http.post("/api/auth/login", json={"username": name, "password": "12345678"})

        for _ in range(3):
            await stack.enter_async_context(_meanwhile(again_and_again(guess, 0.0)))
        yield


@asynccontextmanager
async def sleepers(mesh: Mesh) -> AsyncIterator[None]:
    """Watchers of much, who stop reading."""
    port = state.require(mesh.data).ports["stream_svc-http"]
    asked = json.dumps({"watch": [{"board": board, "limit": 100} for board in BOARDS]}).encode()
    sockets: list[Raw] = []
    try:
        for _ in range(SLEEPERS):
            sockets.append(await Raw.open(port, receive_bytes=2_048))
            sockets[-1].writer.write(raw_frame(FIN | TEXT, asked))
            sockets[-1].writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield
    finally:
        for socket in sockets:
            socket.writer.transport.abort()


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), task
    finally:
        await end(task)


def _process(mesh: Mesh, name: str) -> psutil.Process:
    pid = mesh.pid(name)
    assert pid is not None, f"{name} does not run"  # psutil would take None for this process
    return psutil.Process(pid)


def _family(mesh: Mesh, name: str) -> list[psutil.Process]:
    process = _process(mesh, name)
    return [process, *process.children(recursive=True)]


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):  # a session of Postgres that ended meanwhile
            process.send_signal(number)


async def _kill(mesh: Mesh, name: str) -> None:
    process = _process(mesh, name)
    process.kill()
    await eventually(lambda: mesh.pid(name) not in (None, process.pid), 30, f"another {name}")


async def _owner(mesh: Mesh, stack: AsyncExitStack) -> asyncpg.Connection:
    connection = await asyncpg.connect(state.postgres_url(mesh.data))
    stack.push_async_callback(connection.close)
    return connection


async def _all_rest(mesh: Mesh) -> bool:
    ports = state.require(mesh.data).ports
    async with httpx.AsyncClient() as http:
        told = [await http.get(f"http://127.0.0.1:{ports[f'{name}-ops']}/metrics") for name in worker_names()]
    return all("scoreboard_worker_paused 1.0" in each.text for each in told)


async def _send_junk(mesh: Mesh, messages: int) -> None:
    connection = Connection(state.rabbitmq_url(mesh.data), "junk")
    connection.start()
    try:
        await publish_raw(connection, queues.UPDATES, *[b"\xff no jobs"] * messages)
    finally:
        await connection.close()
