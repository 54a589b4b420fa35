"""What the checks of `scoreboard doctor` make of what they read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from board import queues
from scoreboard.cli.checks import boards, finding, machine, postgres, processes, rabbitmq, redis
from scoreboard.cli.checks.finding import Finding

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
TESTED = frozenset({7})
DAY_S = 86_400.0
GB = 1024**3
NOW = datetime(2026, 11, 27, tzinfo=UTC)
POLICIES = {"scoreboard-delivery-limit": {"delivery-limit": 100}}


def queue(**changes: Any) -> dict[str, Any]:
    return {"messages": 0, "consumers": 2, "state": "running", "policy": "scoreboard-delivery-limit"} | changes


def all_queues(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = (*rabbitmq.READ_BY_WORKERS, *rabbitmq.DELAYS)
    return {name: changed.get(name.removeprefix("scoreboard."), queue()) for name in names}


def without(name: str) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in all_queues().items() if key != name}


OK = {
    "a version that was tested": finding.version("Redis", (7, 0, 15), least=(7, 0), tested=TESTED),
    "a process that is ready": processes.process("redis", 7, True),
    "a gateway that reaches all": processes.gateway("http://x", serves=True, reads=True),
    "a young key in the set": processes.keys(["k1", "k2"], "k2", 29 * DAY_S),
    "durable settings": postgres.durability(DURABLE, []),
    "a role that waits for the standby": postgres.durability(DURABLE, ["synchronous_commit=remote_apply"]),
    "the migrations of the tree": postgres.migrations(["0001", "0002"], ["0001", "0002"]),
    "partitions ahead": postgres.partitions([]),
    "no row without a partition": postgres.unplaced(0),
    "no dead letters": postgres.dead_letters(0),
    "no rebuild": postgres.rebuilds(0, None),
    "a rebuild under way": postgres.rebuilds(1, timedelta(seconds=3)),
    "working workers": postgres.pause(None),
    "nothing to seal": postgres.seals(0, None, None),
    "rows that are sealed soon": postgres.seals(7, timedelta(seconds=119), 12),
    "noeviction": redis.eviction("noeviction"),
    "an append-only file": redis.persistence("yes", "everysec", "ok"),
    "memory to spare": redis.memory(70, 100),
    "boards": boards.boards(3, [], is_present=True),
    "no alarms": rabbitmq.alarms([]),
    "all queues": rabbitmq.queue_states(all_queues()),
    "a queue with a little": rabbitmq.waiting(all_queues(updates=queue(messages=1_000))),
    "consumers": rabbitmq.consumers(all_queues(updates=queue(consumers=1))),
    "the delivery limit": rabbitmq.policy(all_queues(), POLICIES),
    "room on the disk": machine.disk(2 * GB),
    "a clock within its doubt": machine.clock("Redis", -1.4, 0.5),
}
WARNING = {
    "a version that was not tested": finding.version("Redis", (8, 0), least=(7, 0), tested=TESTED),
    "an old key": processes.keys(["k1"], "k1", 32 * DAY_S),
    "migrations of a newer version": postgres.migrations(["0001", "0002"], ["0001"]),
    "rows without a partition": postgres.unplaced(1),
    "dead letters": postgres.dead_letters(1),
    "a rebuild that nobody does": postgres.rebuilds(2, timedelta(minutes=3)),
    "resting workers": postgres.pause(NOW),
    "much memory in use": redis.memory(71, 100),
    "a long queue": rabbitmq.waiting(all_queues(suspects=queue(messages=1_001))),
    "jobs that failed and wait": rabbitmq.waiting(all_queues(**{"delay.30": queue(messages=1)})),
    "little room on the disk": machine.disk(2 * GB - 1),
    "a clock ahead": machine.clock("Redis", 1.2, 0.1),
    "a clock behind": machine.clock("Postgres", -3.0, 0.1),
}
FAILED = {
    "a version too old": finding.version("Redis", (6, 2, 9), least=(7, 0), tested=TESTED),
    "a process that does not run": processes.process("redis", None, True),
    "a process that is not ready": processes.process("redis", 7, False),
    "a gateway without a service": processes.gateway("http://x", serves=False, reads=True),
    "a gateway without boards": processes.gateway("http://x", serves=True, reads=False),
    "no key set": processes.keys(None, "k1", 0.0),
    "no key that signs": processes.keys(["k1"], None, 0.0),
    "a key that verifiers lack": processes.keys(["k1"], "k2", 0.0),
    "fsync off": postgres.durability(DURABLE | {"fsync": "off"}, []),
    "full_page_writes off": postgres.durability(DURABLE | {"full_page_writes": "off"}, []),
    "commits that forget the standby": postgres.durability(DURABLE | {"synchronous_commit": "local"}, []),
    "a role with weak commits": postgres.durability(DURABLE, ["synchronous_commit=off"]),
    "a missing migration": postgres.migrations(["0001"], ["0001", "0002"]),
    "a missing partition": postgres.partitions(["score_logs_2027_01"]),
    "a sealer that stopped": postgres.seals(7, timedelta(seconds=120), None),
    "an open transaction": postgres.seals(7, timedelta(hours=1), 4711),
    "eviction": redis.eviction("allkeys-lru"),
    "no append-only file": redis.persistence("no", "everysec", "ok"),
    "a disk that takes no writes": redis.persistence("yes", "everysec", "err"),
    "memory that is used up": redis.memory(91, 100),
    "a board that is not ready": boards.boards(3, ["daily 2026-11-27"], is_present=True),
    "boards of another database": boards.boards(3, [], is_present=False),
    "an alarm": rabbitmq.alarms(["memory"]),
    "a missing queue": rabbitmq.queue_states(without(queues.DEAD)),
    "a queue that is down": rabbitmq.queue_states(all_queues(updates=queue(state="down"))),
    "a queue without consumers": rabbitmq.consumers(all_queues(dead=queue(consumers=0))),
    "no queue at all": rabbitmq.consumers({}),
    "a queue without the policy": rabbitmq.policy(all_queues(suspects=queue(policy="")), POLICIES),
    "a policy without the limit": rabbitmq.policy(all_queues(), {"scoreboard-delivery-limit": {}}),
    "no room on the disk": machine.disk(299 * 1024**2),
}


@pytest.mark.parametrize("case", OK)
def test_what_is_well_is_ok(case: str) -> None:
    assert OK[case].state == "ok"
    assert OK[case].cure == ""


@pytest.mark.parametrize("case", WARNING)
def test_what_will_want_a_hand_is_a_warning_with_its_cure(case: str) -> None:
    assert WARNING[case].state == "warning"
    assert WARNING[case].cure


@pytest.mark.parametrize("case", FAILED)
def test_what_breaks_a_promise_has_failed_and_has_its_cure(case: str) -> None:
    assert FAILED[case].state == "failed"
    assert FAILED[case].cure


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (FAILED["a missing migration"], "0002"),
        (FAILED["a missing partition"], "score_logs_2027_01"),
        (FAILED["a role with weak commits"], "synchronous_commit off of a role"),
        (FAILED["a board that is not ready"], "daily 2026-11-27"),
        (FAILED["a missing queue"], "scoreboard.dead"),
        (FAILED["a sealer that stopped"], "since 120 s"),
        (FAILED["an open transaction"], "since 3,600 s"),
        (FAILED["a queue that is down"], "scoreboard.updates (down)"),
        (FAILED["a queue without consumers"], "scoreboard.dead"),
        (FAILED["a queue without the policy"], "scoreboard.suspects"),
        (WARNING["jobs that failed and wait"], "delayed 1"),
        (WARNING["resting workers"], "since 2026-11-27 00:00:00 UTC"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(found: Finding, named: str) -> None:
    assert named in found.found


def test_files_that_others_may_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").touch(mode=0o600)
    assert machine.secret_files(tmp_path).state == "ok"
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "users.acl").touch()
    (tmp_path / "redis" / "users.acl").chmod(0o640)
    found = machine.secret_files(tmp_path)
    assert (found.state, found.found) == ("failed", f"others may read {tmp_path}/redis/users.acl")
    assert f"chmod go= {tmp_path}/redis/users.acl" in found.cure
