"""Replaces the secrets of a mesh that runs, without a restart and without a refused call.

A password's order: the services learn both, the server changes, all else learns the new one. Holds always: at each
moment the services know a password that the server takes; what a killed rotation left half done, the next `scoreboard
up` puts right, for it gives the servers what secrets.json has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import asyncpg
import psycopg
import redis.asyncio

from scoreboard.local import accounts, database, rabbitmqctl, secrets, state
from scoreboard.local.files import write_private
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.trouble import Trouble

CURE = "See: scoreboard status. The mesh runs on; scoreboard down, then up, puts right what was left half done."
TRIES, PAUSE_S, HEARTBEAT_S = 50, 0.1, 10
MASTER_KEYS_KNOWN_S = 3.0  # by then every service has looked at the file (mesh/keys.py: each second), also a slow one
TOKEN_KEY_LIFE_S, TOKEN_KEY_AHEAD_S = 30 * 86_400, 90  # how long a key signs, and is published before (auth_svc)


async def postgres(data: Path) -> None:
    """Give all accounts new passwords of Postgres; sessions that are open go on."""
    known = secrets.load(data)
    fresh = secrets.new_passwords(accounts.LOCAL_ACCOUNTS)
    port = state.require(data).ports["postgres"]
    superuser = accounts.postgres_url(SUPERUSER, known.postgres[SUPERUSER], port, "postgres")

    async def change() -> None:
        await asyncio.to_thread(database.make_roles, superuser, fresh)

    await _replace(data, "postgres", known.postgres, fresh, change)


async def redis_(data: Path) -> None:
    """Give all accounts new passwords of Redis; the old ones count until everybody knows the new."""
    known = secrets.load(data)
    fresh = secrets.new_passwords(accounts.LOCAL_ACCOUNTS)
    url = accounts.redis_url(accounts.OWNER, known.redis[accounts.OWNER], state.require(data).ports["redis"])
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as owner:
        # A mesh that an older version started has not all accounts yet; its next start makes them.
        there = set(await owner.acl_users())
        fresh = {account: password for account, password in fresh.items() if account in there}

        async def set_rules(rule: str, passwords: Mapping[str, str]) -> None:
            for account, password in passwords.items():
                await owner.execute_command("ACL", "SETUSER", account, rule + password)  # type: ignore[no-untyped-call]

        await set_rules(">", fresh)
        # Redis reads this file when it is started again. ACL SAVE would let everybody read it.
        write_private(data / "redis" / "users.acl", accounts.redis_acl(fresh))
        await _replace(data, "redis", known.redis, fresh, None)
        await set_rules("<", {account: known.redis[account] for account in fresh})


async def rabbitmq(data: Path) -> None:
    """Give the services new passwords of RabbitMQ; connections that are open go on."""
    known = secrets.load(data)
    fresh = secrets.new_passwords(accounts.BROKER_ACCOUNTS)
    definitions, port = data / "rabbitmq" / "definitions.json", state.require(data).ports["rabbitmq"]

    async def change() -> None:
        # The node reads this file again when it is started again.
        write_private(definitions, json.dumps(accounts.mesh_definitions(fresh, state.VHOST), indent=2))
        await rabbitmqctl.tell(data, "import_definitions", str(definitions))
        for account, password in fresh.items():
            await _until_taken(accounts.rabbitmq_url(account, password, port, state.VHOST))

    await _replace(data, "rabbitmq", known.rabbitmq, fresh, change)


async def master_key(data: Path) -> None:
    """Make a master key that new sessions and nonces use, and that wraps the JWT keys; the older ones stay good."""
    state.require(data)
    file = secrets.master_keys_file(data)
    kept = json.loads(file.read_text())
    number = max(map(int, kept["keys"])) + 1
    kept["keys"][str(number)] = secrets.new_master_key()
    write_private(file, json.dumps(kept, indent=2) + "\n")
    await asyncio.sleep(MASTER_KEYS_KNOWN_S)  # a service must know a key before another uses it
    write_private(file, json.dumps({**kept, "current": number}, indent=2) + "\n")


async def token_key(data: Path) -> None:
    """Have auth_svc make the next JWT key now: published at once, signing after 90 s; the old one stays good after."""
    connection = await asyncpg.connect(state.postgres_url(data))
    try:
        # One that waits for its turn to sign must wait on: not every verifier knows it yet.
        changed = await connection.execute(
            "UPDATE jwt_keys SET sign_from = least(sign_from, now() - $1 * interval '1 second') WHERE retire_at IS NULL"
            " AND NOT EXISTS (SELECT FROM jwt_keys n WHERE n.sign_from > now())",
            TOKEN_KEY_LIFE_S - TOKEN_KEY_AHEAD_S,
        )
    finally:
        await connection.close()
    if changed == "UPDATE 0":
        raise Trouble("The next key is made already and waits to sign.", f"Wait {TOKEN_KEY_AHEAD_S} s.")


async def _until_taken(url: str) -> None:
    """Wait until RabbitMQ takes a password: it is told that at once, and does it in its own time."""
    from mesh.amqp import Address, BrokerAway, Link

    for attempt in range(1, TRIES + 1):
        try:
            link = await Link.open(Address(url, "rotation", HEARTBEAT_S))
        except BrokerAway as error:
            if attempt == TRIES:
                raise Trouble(f"RabbitMQ does not take a new password: {error}", CURE) from error
            await asyncio.sleep(PAUSE_S)
        else:
            await link.close()
            return


async def _replace(
    data: Path,
    server: str,
    known: Mapping[str, str],
    fresh: Mapping[str, str],
    change: Callable[[], Awaitable[None]] | None,
) -> None:
    """Bring new passwords to those who use them, around the change on the server."""
    if change is not None:
        secrets.hand_out(data, server, fresh, known)
        await change()
    secrets.keep(data, server, {**known, **fresh})
    secrets.hand_out(data, server, fresh)
    # An exporter learns passwords when it starts, and the supervisor starts it again.
    for process in state.require(data).running():
        if process.name == f"{server}-exporter" and (found := process.find()) is not None:
            found.terminate()


#: What can be rotated, by the word for it.
ROTATIONS: Mapping[str, Callable[[Path], Awaitable[None]]] = {
    "postgres": postgres,
    "redis": redis_,
    "rabbitmq": rabbitmq,
    "master-key": master_key,
    "token-key": token_key,
}


async def rotate(data: Path, name: str) -> None:
    """Replace one of ROTATIONS. Raises Trouble when no mesh runs, and when a server or a file refuses."""
    try:
        await ROTATIONS[name](data)
    except (OSError, psycopg.Error, asyncpg.PostgresError, redis.exceptions.RedisError) as error:
        raise Trouble(f"{name} could not be rotated: {error}", CURE) from error
