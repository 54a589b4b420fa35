"""Looks at Redis: whether it keeps all of what it has, and how much room it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from mesh.redis import connect
from scoreboard.cli.checks import finding, machine
from scoreboard.cli.checks.finding import Finding, failed, ok, warning

VERSION_MIN, VERSIONS_TESTED = (7, 0), frozenset({7})  # ACL selectors came with 7.0
USED_MUCH, USED_TOO_MUCH = 0.7, 0.9  # of the memory that it may have
TIMEOUT_S = 5.0


async def check(url: str) -> list[Finding]:
    """Looks at everything in Redis but the boards. url: of the owner."""
    redis = connect(url, timeout_s=TIMEOUT_S)
    try:
        info: Mapping[str, Any] = await redis.info()
        found = await redis.config_get("maxmemory-policy", "appendonly", "appendfsync")
        before = time.time()
        seconds, microseconds = await redis.time()
        after = time.time()
    except (RedisError, OSError) as error:
        cure = "Its log is DIR/logs/redis.log. Boards come from Postgres meanwhile, and updates count."
        return [failed("Redis", f"does not answer ({type(error).__name__})", cure)]
    finally:
        await redis.aclose()
    settings = {name: str(value) for name, value in found.items()}
    number = tuple(int(part) for part in str(info["redis_version"]).split("."))
    ahead_s = seconds + microseconds / 1e6 - (before + after) / 2
    return [
        finding.version("Redis", number, least=VERSION_MIN, tested=VERSIONS_TESTED),
        eviction(settings["maxmemory-policy"]),
        persistence(settings["appendonly"], settings["appendfsync"], info["aof_last_write_status"]),
        memory(info["used_memory"], info["maxmemory"] or info["total_system_memory"]),
        machine.clock("Redis", ahead_s, (after - before) / 2),
    ]


def eviction(policy: str) -> Finding:
    """Judges what Redis does when it is full."""
    check, found = "Redis eviction", f"maxmemory-policy {policy}"
    if policy == "noeviction":
        return ok(check, found)
    return failed(check, found, "Set it to noeviction: an evicting Redis silently drops half a board.")


def persistence(appendonly: str, appendfsync: str, last_write: str) -> Finding:
    """Judges whether Redis comes back with what it had."""
    check, found = "Redis persistence", f"appendonly {appendonly}, appendfsync {appendfsync}"
    if last_write != "ok":
        return failed(check, f"{found}, last write {last_write}", "Look at the disk: Redis takes no writes until then.")
    if appendonly == "yes":
        return ok(check, found)
    return failed(check, found, "Set appendonly to yes: else a restart forgets claims and rate windows.")


def memory(used_bytes: int, most_bytes: int) -> Finding:
    """Judges Redis' memory. most_bytes: what it may use, at last the whole machine's."""
    check, share = "Redis memory", used_bytes / most_bytes
    found = f"{used_bytes / 1024**2:.0f} of {most_bytes / 1024**2:.0f} MB"
    cure = "Raise maxmemory or give it more: a full Redis takes no writes. A million places are some 200 MB a board."
    if share > USED_TOO_MUCH:
        return failed(check, found, cure)
    return warning(check, found, cure) if share > USED_MUCH else ok(check, found)
