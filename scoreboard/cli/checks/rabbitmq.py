"""Looks at RabbitMQ: alarms, what waits in the queues, and whether anybody takes it out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from board import queues
from scoreboard.cli.checks import finding
from scoreboard.cli.checks.finding import Finding, failed, ok, warning
from scoreboard.local import rabbitmqctl, state
from scoreboard.local.trouble import Trouble

VERSION_MIN, VERSIONS_TESTED = (3, 10), frozenset({3})  # at-least-once dead lettering came with 3.10
WAITING_MANY = 1_000  # envelopes, each of up to 500 jobs: seconds of work for the workers
READ_BY_WORKERS = (queues.UPDATES, queues.SUSPECTS, queues.DEAD)
DELAYS = tuple(queues.delay(delay_s) for delay_s in queues.DELAYS_S)
COLUMNS = ("name", "messages", "consumers", "state", "policy")

Queue = Mapping[str, Any]  # of COLUMNS


async def check(data: Path) -> list[Finding]:
    """Looks at the broker of the mesh that runs under `data`."""
    try:
        status, listed, policies = await asyncio.gather(
            rabbitmqctl.ask(data, "status"),
            rabbitmqctl.ask(data, "list_queues", "-p", state.VHOST, *COLUMNS),
            rabbitmqctl.ask(data, "list_policies", "-p", state.VHOST),
        )
    except Trouble as trouble:
        return [failed("RabbitMQ", trouble.what, trouble.cure)]
    number = tuple(int(part) for part in str(status["rabbitmq_version"]).split("-")[0].split(".")[:3])
    known = {queue["name"]: queue for queue in listed}
    return [
        finding.version("RabbitMQ", number, least=VERSION_MIN, tested=VERSIONS_TESTED),
        alarms([str(alarm) for alarm in status["alarms"]]),
        queue_states(known),
        waiting(known),
        consumers(known),
        policy(known, {one["name"]: json.loads(one["definition"]) for one in policies}),
    ]


def alarms(raised: Sequence[str]) -> Finding:
    """Judges the broker's alarms, under which it takes no update."""
    if not raised:
        return ok("RabbitMQ alarms", "none")
    cure = "Free memory or disk space: until the alarm ends every update is refused."
    return failed("RabbitMQ alarms", ", ".join(raised), cure)


def queue_states(known: Mapping[str, Queue]) -> Finding:
    """Judges whether every queue is there and runs."""
    wanted = (*READ_BY_WORKERS, *DELAYS)
    missing = [name for name in wanted if name not in known]
    down = [
        f"{name} ({known[name]['state']})" for name in wanted if name in known and known[name]["state"] != "running"
    ]
    if not missing and not down:
        return ok("queues", f"all {len(wanted)} run")
    found = "; ".join(part for part in (_list("missing", missing), _list("not running", down)) if part)
    return failed("queues", found, "A worker declares what is missing when it starts: kill one, and it starts again.")


def waiting(known: Mapping[str, Queue]) -> Finding:
    """Judges how much waits, and where."""
    check = "queue lengths"
    lengths = {name: int(queue["messages"]) for name, queue in known.items()}
    shown = ", ".join(f"{_short(name)} {lengths.get(name, 0)}" for name in READ_BY_WORKERS)
    delayed = sum(lengths.get(name, 0) for name in DELAYS)
    found = f"{shown}, delayed {delayed}"
    if any(lengths.get(name, 0) > WAITING_MANY for name in READ_BY_WORKERS):
        cure = "The workers do not keep up: see whether Postgres answers, whether they rest, and DIR/logs/worker-1.log."
        return warning(check, found, cure)
    if delayed:
        cure = "Jobs failed and are tried again within two minutes: DIR/logs/worker-1.log says why."
        return warning(check, found, cure)
    return ok(check, found)


def consumers(known: Mapping[str, Queue]) -> Finding:
    """Judges whether every queue of jobs has a worker."""
    check, counts = "consumers", {name: int(known[name]["consumers"]) for name in READ_BY_WORKERS if name in known}
    without = [name for name, count in counts.items() if not count]
    if counts and not without:
        return ok(check, ", ".join(f"{_short(name)} {count}" for name, count in counts.items()))
    cure = "No worker takes jobs: see scoreboard status, and DIR/logs/worker-1.log."
    return failed(check, _list("nobody reads", without or list(READ_BY_WORKERS)), cure)


def policy(known: Mapping[str, Queue], policies: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Judges whether the delivery limit holds for every queue that our policy names. policies: definitions by name."""
    check, wanted = "RabbitMQ policy", (queues.UPDATES, queues.SUSPECTS, *DELAYS)
    limit = queues.POLICY["definition"]["delivery-limit"]
    held = {name: policies.get(str(queue["policy"]), {}).get("delivery-limit") for name, queue in known.items()}
    without = [name for name in wanted if held.get(name) != limit]
    if not without:
        return ok(check, f"delivery limit {limit} on {len(wanted)} queues")
    cure = f"Set {queues.POLICY['name']} again (`up` does): without it a job that kills workers comes back for ever."
    return failed(check, _list(f"no delivery limit of {limit} on", without), cure)


def _short(queue: str) -> str:
    return queue.removeprefix("scoreboard.")


def _list(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""
