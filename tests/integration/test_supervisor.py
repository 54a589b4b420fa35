"""`scoreboard up`, `status` and `down`: meshes that come back when killed and leave nothing when stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shlex
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
import websockets

from scoreboard.client import Client
from scoreboard.local import open_files, probe, secrets
from tests.e2e.pages import assert_shows, page_blocks
from tests.meshes import Mesh, is_alive, new_mesh, nothing_left, scoreboard, start_scoreboard
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)  # each may start a mesh or two, from nothing
NAMES = {
    "postgres",
    "redis",
    "rabbitmq",
    "envoy",
    "nginx",
    "auth_svc",
    "score_svc",
    "leaderboard_svc",
    "stream_svc",
    "admin_svc",
    "worker-1",
    "worker-2",
}


def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="scoreboard-mesh-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


folder = pytest.fixture(_folder)
shared_folder = pytest.fixture(_folder, scope="module")


@pytest.fixture(scope="module")
async def mesh(shared_folder: Path) -> AsyncIterator[Mesh]:
    """One mesh for the tests of this module; each begins with `await mesh.up()`."""
    own = new_mesh(shared_folder / "data")
    yield own
    await own.kill()


async def test_status_lists_every_process_by_its_own_pid(mesh: Mesh) -> None:
    await mesh.up()
    status = await mesh.status()
    assert set(status) == {"processes", "gateway", "admin"}
    ports = {process["name"]: process["port"] for process in status["processes"]}
    assert (status["gateway"], status["admin"]) == (mesh.url, f"http://127.0.0.1:{ports['admin_svc']}")
    programs = {process["name"]: psutil.Process(process["pid"]).name() for process in status["processes"]}
    assert set(programs) == NAMES
    assert programs["postgres"] == "postgres"
    assert programs["rabbitmq"] == "beam.smp"
    assert programs["redis"] == "redis-server"
    assert programs["envoy"] == "envoy"
    files, most = psutil.Process(mesh.pid("envoy")).rlimit(psutil.RLIMIT_NOFILE)
    assert files == min(open_files.WANTED, most), "a shell gives 1,024"

    async def all_listen() -> bool:
        return all(await asyncio.gather(*(probe.listens(process["port"]) for process in status["processes"])))

    await eventually(all_listen, what="each listens")


async def test_everything_listens_on_this_machine_alone(mesh: Mesh) -> None:
    await mesh.up()
    pids = {process.pid for process in mesh.family()}
    listening = [c for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN]
    addresses = {connection.laddr.ip.removeprefix("::ffff:") for connection in listening if connection.laddr}
    assert addresses
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)


async def test_secrets_are_readable_by_their_owner_alone(mesh: Mesh) -> None:
    await mesh.up()
    for name in ("secrets.json", "master-keys.json", "mesh.json"):
        assert stat.S_IMODE((mesh.data / name).stat().st_mode) == 0o600
    shown = [" ".join(process.cmdline()) for process in mesh.family()]
    passwords = [*secrets.load(mesh.data).postgres.values(), *secrets.load(mesh.data).redis.values()]
    assert not [line for line in shown for password in passwords if password in line]


@pytest.mark.parametrize(
    "names",
    [("score_svc", "worker-1", "envoy", "nginx"), ("redis", "postgres", "rabbitmq")],
    ids=["services", "servers"],
)
async def test_killed_processes_come_back(mesh: Mesh, names: tuple[str, ...]) -> None:
    await mesh.up()
    killed = {name: mesh.pid(name) for name in names}
    for pid in killed.values():
        assert pid is not None
        os.kill(pid, 9)
    for name, pid in killed.items():
        await eventually(partial(_is_new, mesh, name, pid), 30, f"a new {name}")
    await eventually(lambda: _board_answers(mesh), 60, "the board")
    await mesh.until_whole()


def _is_new(mesh: Mesh, name: str, killed: int | None) -> bool:
    return mesh.pid(name) not in (None, killed)


async def _board_answers(mesh: Mesh) -> bool:
    try:
        async with httpx.AsyncClient(base_url=mesh.url) as client:
            return (await client.get("/api/scores/leaderboard")).status_code == 200
    except httpx.HTTPError:
        return False


async def test_a_terminated_supervisor_tells_streams_leaves_nothing_and_comes_up_on_its_ports(mesh: Mesh) -> None:
    await mesh.up()
    family, ports = mesh.family(), mesh.ports()
    async with websockets.connect(mesh.url.replace("http", "ws", 1) + "/ws/leaderboard") as stream:
        await stream.recv()
        mesh.supervisor().terminate()
        with pytest.raises(websockets.ConnectionClosed) as ended:
            await asyncio.wait_for(_read_to_the_end(stream), 60 * SCALE)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == websockets.CloseCode.SERVICE_RESTART
    await nothing_left(family, ports, 60)
    await mesh.up()
    assert mesh.ports() == ports


async def _read_to_the_end(stream: websockets.ClientConnection) -> None:
    while True:
        await stream.recv()


async def test_a_killed_supervisor_leaves_nothing_and_damaged_notes_do_not_keep_its_mesh_down(mesh: Mesh) -> None:
    await mesh.up()
    family, ports = mesh.family(), mesh.ports()
    mesh.supervisor().kill()
    await nothing_left(family, ports)
    done = await scoreboard("status", "--data", str(mesh.data))
    assert done.code == 1
    assert "No mesh runs" in done.err
    (mesh.data / "mesh.json").write_text('{"supervisor"')
    await mesh.up()
    assert await _board_answers(mesh)


async def test_a_start_killed_half_way_is_mended_by_the_next_and_down_stops_that_mesh_and_no_other(
    mesh: Mesh, folder: Path
) -> None:
    other = new_mesh(folder / "other")
    half = await start_scoreboard(*other.arguments())
    making = other.data / "postgres.new"
    await eventually(lambda: making.exists() or (other.data / "postgres").exists(), 30, "a start under way")
    half.kill()
    await half.communicate()
    await asyncio.gather(mesh.up(), other.up())
    try:
        assert await _board_answers(other)
        assert not making.exists()
        family, ports = other.family(), other.ports()
        neighbours = mesh.family()
        assert not {process.pid for process in family} & {process.pid for process in neighbours}
        assert not set(ports) & set(mesh.ports())
        done = await other.down()
        assert done.code == 0, done.err
        await nothing_left(family, ports, 5)
        assert all(map(is_alive, neighbours))
        assert await _board_answers(mesh)
    finally:
        await other.kill()


async def test_a_second_up_on_a_folder_is_refused(mesh: Mesh) -> None:
    await mesh.up()
    done = await scoreboard("up", "--data", str(mesh.data), "--port", str(new_mesh(mesh.data).port))
    assert done.code == 1
    assert "Another scoreboard up runs on" in done.err
    assert "scoreboard down" in done.err


async def test_a_port_in_use_is_named_with_its_cure(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = await scoreboard("up", "--data", str(folder / "data"), "--port", str(port))
    assert done.code == 1
    assert f"Port {port} of 127.0.0.1 is in use" in done.err
    assert f"--port {port + 1}" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("detach", [[], ["--detach"]])
async def test_a_folder_that_cannot_be_used_is_named_with_its_cure(folder: Path, detach: list[str]) -> None:
    (folder / "file").touch()  # root may write everywhere, but not below a file
    done = await scoreboard("up", "--data", str(folder / "file" / "data"), *detach)
    assert done.code == 1
    assert f"The data folder {folder}/file/data cannot be used" in done.err
    assert "--data" in done.err
    assert "Traceback" not in done.err


async def test_ctrl_c_ends_a_start_under_way(folder: Path) -> None:
    own = new_mesh(folder / "data")
    up = await start_scoreboard(*own.arguments())
    await eventually(lambda: (own.data / "mesh.json").exists(), 30, "a start under way")
    family = own.family()
    up.send_signal(2)
    out, _ = await asyncio.wait_for(up.communicate(), 60 * SCALE)
    assert "Scoreboard is down." in out.decode()
    assert not [process for process in family if is_alive(process)]


async def test_down_without_a_mesh_says_so(folder: Path) -> None:
    done = await scoreboard("down", "--data", str(folder))
    assert (done.code, done.out.strip()) == (0, f"No mesh runs under {folder}.")


@pytest.mark.parametrize("command", ["up", "status", "down"])
async def test_help_names_the_variable_of_the_folder(command: str) -> None:
    done = await scoreboard(command, "--help")
    assert done.code == 0
    assert "SCOREBOARD_DATA" in done.out


@pytest.mark.promise(row=12)
async def test_a_mesh_goes_back_to_its_backup_as_the_page_says(mesh: Mesh, tmp_path: Path) -> None:
    await mesh.up()
    board = f"{mesh.url}/api/scores/leaderboard?limit=100"
    async with Client(mesh.url.removeprefix("http://")) as client, httpx.AsyncClient(timeout=10) as http:
        name = (await client.guest()).user_id
        await client.score("win-round")
        for commands, shown in page_blocks("backup.md"):
            printed = ""
            for line in commands.splitlines():
                program, *arguments = shlex.split(line)
                assert program == ".venv/bin/scoreboard"
                port = ("--port", str(mesh.port)) if arguments[0] == "up" else ()
                paths = [str(tmp_path / one) if one.endswith(".dump") else one for one in arguments]
                done = await scoreboard(*paths, *port, "--data", str(mesh.data))
                assert done.code == 0, done.out + done.err
                printed += done.out
            assert_shows(printed, shown)
            rows = {row["userId"]: row["score"] for row in (await http.get(board)).json()["leaderboard"]}
            assert rows[name] == 50
            refused = await scoreboard("restore", str(tmp_path / "scoreboard.dump"), "--yes", "--data", str(mesh.data))
            assert refused.err.startswith(f"Another scoreboard up runs on {mesh.data}.")
            await client.score("win-round")  # after the backup: gone again; after the restore: counts, once
        rows = {row["userId"]: row["score"] for row in (await http.get(board)).json()["leaderboard"]}
        assert rows[name] == 100
