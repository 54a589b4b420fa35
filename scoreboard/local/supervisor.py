"""Runs one mesh until it is told to stop: what starts after what, and what stops before what.

Holds always: one supervisor a folder (a lock); every child dies with it (program.py); mesh.json names every
child that may live, so that the next `up` or `down` can end what a killed supervisor left.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scoreboard.local import (
    accounts,
    first_start,
    gateway,
    leftovers,
    monitoring,
    nginx,
    open_files,
    ports,
    postgres,
    seal_key,
    secrets,
    servers,
    services,
    state,
    telemetry,
)
from scoreboard.local.gateway import Hop
from scoreboard.local.keeper import Keeper
from scoreboard.local.program import Program
from scoreboard.local.services import Limits, Wiring
from scoreboard.local.state import MeshState, Process
from scoreboard.local.trouble import Trouble

SERVERS = ("postgres", "redis", "rabbitmq", "rabbitmq-epmd", "rabbitmq-dist", "nginx", "envoy-admin")


@dataclass(frozen=True)
class Options:
    """What `scoreboard up` was asked for. port: the gateway's. alert_webhook: told of alerts, with monitoring."""

    data: Path
    port: int
    limits: Limits
    hop: Hop = Hop.HTTP1
    with_monitoring: bool = False
    alert_webhook: str | None = None


class Supervisor:
    """One mesh of one folder. `start` returns when it is ready; `stop` ends all of it, also half a start."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._data = options.data
        self._say = say
        self._keepers: dict[str, Keeper] = {}
        self._state: MeshState | None = None  # written by this object alone, on the event loop
        self._ports = ports.Ports()
        self._files = 0  # that a child may have open

    async def start(self) -> None:
        """Start everything and wait until the mesh is ready. The caller holds the folder's lock.

        Raises Trouble with a sentence and a cure.
        """
        began = time.monotonic()
        self._files = open_files.allow_many()
        await self._clear_leftovers()
        self._take_ports()
        url = f"http://127.0.0.1:{self._options.port}"
        self._state = MeshState(Process.of("up", os.getpid(), 0), "starting", url, self._ports.numbers)
        self._write()
        kept = secrets.load(self._data)
        for server in ("postgres", "redis", "rabbitmq"):
            secrets.hand_out(self._data, server, getattr(kept, server))
        master_keys = secrets.master_keys_file(self._data)
        wiring = Wiring(self._ports.numbers, kept, url, master_keys, self._options.limits, self._data)
        seal_key.make(self._data)
        await self._start_all(wiring)
        await first_start.wait_boards(wiring)
        await first_start.wait_gateway(wiring)
        self._say(f"The boards are ready; all of it took {time.monotonic() - began:.1f} s")
        self._state = replace(self._state, phase="ready")
        self._write()

    async def stop(self) -> None:
        """End the mesh: first the way in and the streams, then services, workers, servers. Also ends half a start."""
        if self._state is not None:
            self._state = replace(self._state, phase="stopping")
            self._write()
        workers = services.worker_names()
        late = [name for name in ("postgres", "redis", "rabbitmq") if name in self._keepers]
        others = [name for name in self._keepers if name.endswith("_svc") and name != "stream_svc"]
        # Streams never end by themselves: stream_svc tells them to, while the gateway still stands to pass it on.
        watching = [name for name in monitoring.PORTS if name in self._keepers]
        first = ["envoy", "stream_svc", *watching]
        for names in (first, ["nginx", *others], workers, late, ["rabbitmq-epmd"]):
            await asyncio.gather(*(self._keepers[name].stop() for name in names if name in self._keepers))
        self._ports.release_all()
        if self._state is not None:
            self._state = replace(self._state, processes=())
            self._write()

    async def _clear_leftovers(self) -> None:
        before = state.read(self._data)
        if before is not None:
            self._ports = ports.Ports(before.ports)
            ended = await asyncio.to_thread(leftovers.end, before)
            if ended:
                self._say(f"Ended {ended} processes that a killed `scoreboard up` left")

    def _take_ports(self) -> None:
        self._ports.claim("gateway", self._options.port)
        watching = monitoring.PORTS if self._options.with_monitoring else ()
        for name in (*SERVERS, *services.port_names(), *watching):
            self._ports.take(name)

    async def _start_all(self, wiring: Wiring) -> None:
        database = asyncio.Event()
        auth, *others = services.programs(wiring)
        readers = [program for program in others if program.name in ("leaderboard_svc", "stream_svc")]
        movers = [program for program in others if program not in readers]
        queue, view = asyncio.Event(), asyncio.Event()
        await _all(
            self._start_postgres(wiring, database),
            self._start_redis(wiring, view),
            self._start_rabbitmq(wiring, queue),
            self._begin(nginx.nginx(self._data, wiring.ports["nginx"])),
            self._start_auth_and_gateway(auth, wiring, (database, view)),
            *(self._begin(program, (database, view)) for program in readers),
            *(self._begin(program, (database, view, queue)) for program in movers),
            *(self._begin(program, (database, view)) for program in self._monitoring(wiring)),
        )

    def _monitoring(self, wiring: Wiring) -> list[Program]:
        if not self._options.with_monitoring:
            return []
        return monitoring.programs(self._data, wiring, self._options.alert_webhook)

    async def _start_postgres(self, wiring: Wiring, done: asyncio.Event) -> None:
        password = wiring.secrets.postgres[postgres.SUPERUSER]
        if not (self._data / "postgres").exists():
            self._say("Making Postgres' data folder")
        program = await asyncio.to_thread(postgres.postgres, self._data, wiring.ports["postgres"], password)
        await self._begin(program)
        for line in await first_start.prepare_database(wiring):
            self._say(line)
        done.set()

    async def _start_redis(self, wiring: Wiring, done: asyncio.Event) -> None:
        await self._begin(servers.redis(self._data, wiring.ports["redis"], wiring.secrets.redis))
        done.set()

    async def _start_rabbitmq(self, wiring: Wiring, done: asyncio.Event) -> None:
        await self._begin(servers.epmd(wiring.ports["rabbitmq-epmd"]))
        self._ports.release("rabbitmq-dist")
        self._ports.release("rabbitmq-prometheus")
        definitions = accounts.mesh_definitions(wiring.secrets.rabbitmq, state.VHOST)
        cookie = wiring.secrets.erlang_cookie
        plugins = monitoring.RABBITMQ_PLUGINS if self._options.with_monitoring else ()
        await self._begin(servers.rabbitmq(self._data, wiring.ports, cookie, definitions, plugins))
        done.set()

    async def _start_auth_and_gateway(self, auth: Program, wiring: Wiring, after: Iterable[asyncio.Event]) -> None:
        await self._begin(auth, after)  # Envoy fetches its keys when it starts
        self._ports.release("envoy-admin")
        self._ports.release("gateway")
        configuration = gateway.render(
            wiring.ports,
            wiring.limits.updates_per_minute,
            wiring.limits.logins_per_minute,
            hop=self._options.hop,
            origins=services.origins(),
            connections_max=open_files.connections(self._files),
            traces=telemetry.Traces.of(os.environ),
            access_log_percent=telemetry.access_log_percent(),
        )
        port, admin_port = wiring.ports["gateway"], wiring.ports["envoy-admin"]
        await self._begin(servers.envoy(self._data, configuration, port, admin_port))

    async def _begin(self, program: Program, after: Iterable[asyncio.Event] = ()) -> None:
        for event in after:
            await event.wait()
        began = time.monotonic()
        for name in (program.name, f"{program.name}-http", f"{program.name}-gateway", f"{program.name}-ops"):
            self._ports.release(name)
        keeper = Keeper(program, self._data / "logs", self._note, self._say)
        self._keepers[program.name] = keeper
        await keeper.begin()
        self._say(f"{program.name} is ready ({time.monotonic() - began:.1f} s)")

    def _note(self, process: Process) -> None:
        assert self._state is not None
        self._state = self._state.with_process(process)
        self._write()

    def _write(self) -> None:
        assert self._state is not None
        try:
            state.write(self._data, self._state)
        except OSError as error:
            if self._state.phase == "starting":
                raise Trouble(f"{self._data}/mesh.json cannot be written: {error}", state.FOLDER_CURE) from error
            # A full disk later must not end a mesh that runs; `status` is then behind until there is room.
            self._say(f"{self._data}/mesh.json cannot be written: {error}. {state.FOLDER_CURE}")


async def _all(*parts: Awaitable[None]) -> None:
    """Run all parts; the first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
