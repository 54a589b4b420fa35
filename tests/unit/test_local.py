"""The pure rules of running a mesh on one machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from scoreboard.local import accounts, open_files, postgres, secrets, state
from scoreboard.local import ports as local_ports
from scoreboard.local.files import write_private
from scoreboard.local.keeper import backoff_s
from scoreboard.local.ports import Ports, is_free
from scoreboard.local.state import MeshState, Process
from scoreboard.local.trouble import Trouble
from tests.services import TREE


def test_first_crash_costs_no_pause_and_later_ones_half_a_second_to_five() -> None:
    assert [backoff_s(crashes) for crashes in range(1, 8)] == [0, 0.5, 1, 2, 4, 5, 5]


def test_ports_of_the_last_run_are_taken_again_while_free() -> None:
    first = Ports()
    wanted = {"postgres": first.take("postgres"), "redis": first.take("redis")}
    first.release("postgres")
    again = Ports(wanted)
    assert again.take("postgres") == wanted["postgres"]
    assert again.take("redis") != wanted["redis"]  # the first still holds it
    first.release_all()
    again.release_all()
    assert is_free(wanted["redis"])


def test_a_port_of_another_mesh_is_not_taken_while_its_server_is_yet_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports()
    port = ports.take("free")
    ports.release_all()
    del ports  # and with it the mark: the port is anybody's
    monkeypatch.setattr(local_ports, "FIRST_PORT", port)
    monkeypatch.setattr(local_ports, "LAST_PORT", port)
    monkeypatch.setattr(local_ports, "_given", set[int]())
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(port)], cwd=TREE, stdin=PIPE, stdout=PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        assert is_free(port), "its server is yet to start"
        for wanted in ({}, {"redis": port}):
            with pytest.raises(Trouble, match="No port"):
                Ports(wanted).take("redis")
    finally:
        other.communicate()
    assert Ports().take("redis") == port


#: Another supervisor: it has released the port of a server that it is about to start, until its stdin ends.
OTHER = """
import sys
from scoreboard.local import ports
ports.FIRST_PORT = ports.LAST_PORT = int(sys.argv[1])
own = ports.Ports()
own.take("redis")
own.release("redis")
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_claimed_port_that_is_taken_is_named_with_the_next_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Trouble, match=f"Port {port} of 127.0.0.1 is in use") as caught:
            Ports().claim("gateway", port)
    assert caught.value.cure.endswith(f"--port {port + 1}")


def test_secrets_are_made_once(tmp_path: Path) -> None:
    made = secrets.load(tmp_path)
    assert secrets.load(tmp_path) == made
    assert len(set(made.postgres.values())) == len(made.postgres)
    assert secrets.master_keys_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_what_an_older_version_had_no_need_of_is_made_and_the_rest_kept(tmp_path: Path) -> None:
    made = secrets.load(tmp_path)
    path = tmp_path / "secrets.json"
    older = json.loads(path.read_text())
    for server in ("postgres", "redis", "rabbitmq"):
        del older[server]["admin_svc"]
    del older["operator"]
    path.write_text(json.dumps(older))
    completed = secrets.load(tmp_path)
    assert secrets.load(tmp_path) == completed
    assert completed.postgres.keys() == made.postgres.keys()
    assert completed.rabbitmq == made.rabbitmq | {"admin_svc": completed.rabbitmq["admin_svc"]}
    assert completed.redis["worker"] == made.redis["worker"]
    assert completed.erlang_cookie == made.erlang_cookie
    assert completed.operator
    assert path.stat().st_mode & 0o777 == 0o600
    del older["postgres"]
    path.write_text(json.dumps(older))
    with pytest.raises(Trouble, match="damaged"):
        secrets.load(tmp_path)


def test_damaged_secrets_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(Trouble, match="damaged"):
        secrets.load(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == "{"


def test_a_pid_that_was_given_away_is_not_ours() -> None:
    ours = Process.of("test", os.getpid(), 0)
    assert ours.find() is not None
    assert Process("test", os.getpid(), 0, ours.started_at - 100).find() is None


def test_mesh_state_survives_the_way_through_its_file(tmp_path: Path) -> None:
    own = Process.of("up", os.getpid(), 0)
    written = MeshState(own, "ready", "http://127.0.0.1:1", {"redis": 5}, (own,))
    state.write(tmp_path, written)
    assert state.read(tmp_path) == written
    assert state.gateway_target(tmp_path) == "127.0.0.1:1"


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    (tmp_path / "file.new").write_text("half of a")  # what a killed process left
    write_private(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_redis_accounts_are_off_unless_named() -> None:
    lines = accounts.redis_acl(dict.fromkeys(accounts.LOCAL_ACCOUNTS, "word")).splitlines()
    assert lines[0] == "user default off"
    assert [line.split()[1] for line in lines[1:]] == list(accounts.LOCAL_ACCOUNTS)
    assert all(hashlib.sha256(b"word").hexdigest() in line for line in lines[1:])


def test_rabbitmq_hash_is_a_salted_sha256() -> None:
    raw = base64.b64decode(accounts.rabbitmq_password_hash("word"))
    assert raw[4:] == hashlib.sha256(raw[:4] + b"word").digest()


def test_the_gateway_takes_no_more_clients_than_it_has_files_for() -> None:
    assert open_files.connections(1_048_576) == 50_000
    assert open_files.connections(20_000) == 9_750
    assert open_files.connections(256) == 1
    bound = open_files.allow_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= bound > 0


@pytest.mark.parametrize(
    ("memory_bytes", "share"), [(2**29, "128MB"), (2**31, "256MB"), (2**33, "1024MB"), (2**38, "1024MB")]
)
def test_postgres_gets_a_share_of_the_memory(memory_bytes: int, share: str) -> None:
    assert postgres._shared_buffers(memory_bytes) == share
