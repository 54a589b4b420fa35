"""Each service's account on Postgres, Redis and RabbitMQ does what the service needs, and is refused all else.

Statements of single roles stand in test_migrations.py; here is what holds for every account, and what no account may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest
import redis.asyncio
import yaml
from redis.exceptions import AuthenticationError, NoPermissionError

from board import queues
from mesh.amqp import Address, BrokerRefused, Channel, Link
from scoreboard.local.accounts import BROKER_ACCOUNTS, EXPORTER, OWNER, SERVICES
from scoreboard.local.database import let_exporter_read
from scoreboard.local.postgres import SUPERUSER
from tests.meshes import TREE
from tests.servers import Database, PostgresServer, RedisServer, Vhost

#: Who may write what. Partitions are their table's; a table that is not here is nobody's to write but the owner's.
WRITERS: Mapping[str, set[str]] = {
    "users": {"auth_svc", "worker"},
    "credentials": {"auth_svc", "worker"},
    "sessions": {"auth_svc", "worker"},
    "refresh_tokens": {"auth_svc"},
    "identities": {"auth_svc", "worker"},
    "jwt_keys": {"auth_svc"},
    "catalogue_revisions": {"admin_svc"},
    "actions": {"admin_svc"},
    "boards": {"admin_svc"},
    "operation": {"admin_svc"},
    "board_rebuilds": {"admin_svc", "worker"},
    "admin_log": {"admin_svc", "worker"},
    "board_periods": {"worker"},
    "board_entries": {"worker"},
    "score_logs": {"worker"},
    "action_usage": {"worker"},
    "dead_letters": {"worker"},
    "audit_seals": {"worker"},
    "audit_leaves": {"worker"},
}
#: What is written once: rows are added, and nobody but the owner changes or removes one.
APPEND_ONLY = ("score_logs", "admin_log", "audit_seals", "audit_leaves")
SECRETS = ("password_hash", "private_key", "token_hash", "secret_hash")

TABLES = """
SELECT c.relname AS name, p.role,
       has_any_column_privilege(p.role, c.oid, 'INSERT') AS adds,
       has_any_column_privilege(p.role, c.oid, 'UPDATE') AS changes,
       has_table_privilege(p.role, c.oid, 'DELETE') AS removes,
       has_table_privilege(p.role, c.oid, 'TRUNCATE, REFERENCES, TRIGGER') AS more
FROM pg_class c, unnest($1::text[]) AS p(role)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname !~ 'yoyo'
"""
READERS = """
SELECT p.role FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, unnest($1::text[]) AS p(role)
WHERE c.relnamespace = 'public'::regnamespace AND a.attname = $2
  AND has_column_privilege(p.role, c.oid, a.attnum, 'SELECT')
"""
DEFINERS = """
SELECT p.proname AS name, r.role FROM pg_proc p, unnest($1::text[]) AS r(role)
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND has_function_privilege(r.role, p.oid, 'EXECUTE')
"""
NOBODY_MAY = (
    "CREATE TABLE t (i int)",
    "CREATE TEMPORARY TABLE t (i int)",
    "CREATE SCHEMA s",
    "CREATE EXTENSION pg_trgm",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE users ADD COLUMN c int",
    "DROP TABLE score_logs",
    "TRUNCATE score_logs",
    "CREATE ROLE r",
    "ALTER ROLE scoreboard PASSWORD 'x'",
    "SET ROLE scoreboard",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT pg_read_file('postgresql.conf')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/t'",
    "ALTER SYSTEM SET fsync = off",
    "SELECT pg_reload_conf()",
    "SELECT rolpassword FROM pg_authid",
)


def _parent(table: str) -> str:
    return next((name for name in ("score_logs", "board_entries") if table.startswith(name)), table)


async def test_postgres_each_table_has_its_writers_and_no_others(database: Database) -> None:
    owner = await asyncpg.connect(database.url())
    try:
        rows = await owner.fetch(TABLES, SERVICES)
    finally:
        await owner.close()
    assert rows
    for row in rows:
        table, role = _parent(row["name"]), row["role"]
        is_writer = row["adds"] or row["changes"] or row["removes"]
        assert not is_writer or role in WRITERS.get(table, set()), f"{role} writes {row['name']}"
        assert not row["more"], f"{role} may truncate, refer to or put a trigger on {row['name']}"
        assert not (table in APPEND_ONLY and (row["changes"] or row["removes"])), f"{role} rewrites {row['name']}"


async def test_postgres_shows_secrets_to_auth_svc_alone(database: Database) -> None:
    owner = await asyncpg.connect(database.url())
    try:
        for column in SECRETS:
            readers = {row["role"] for row in await owner.fetch(READERS, SERVICES, column)}
            assert readers == {"auth_svc"}, column
        definers = {(row["name"], row["role"]) for row in await owner.fetch(DEFINERS, SERVICES)}
        assert definers == {("ensure_partitions", "worker"), ("end_role_of_erased", "worker")}
    finally:
        await owner.close()


@pytest.mark.parametrize("role", SERVICES)
async def test_postgres_no_service_leaves_its_tables(database: Database, role: str) -> None:
    conn = await asyncpg.connect(database.url(role))
    try:
        for statement in NOBODY_MAY:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
            assert await conn.fetchval("SELECT current_user") == role
    finally:
        await conn.close()


async def test_postgres_lets_the_exporter_count_and_see_states_alone(database: Database) -> None:
    superuser = database.url(SUPERUSER)
    for _ in range(2):  # at each start of a mesh
        await asyncio.to_thread(let_exporter_read, superuser)
    queries = yaml.safe_load((TREE / "monitoring" / "postgres.yml").read_text())
    other = await asyncpg.connect(database.url("worker"))
    conn = await asyncpg.connect(database.url(EXPORTER))
    try:
        for name, asked in queries.items():
            assert await conn.fetch(asked["query"]), name
        states = await conn.fetch("SELECT state FROM pg_stat_activity WHERE usename = 'worker'")
        assert states
        assert all(row["state"] is not None for row in states)
        for statement in (
            *NOBODY_MAY,
            "SELECT 1 FROM users",
            "SELECT job FROM dead_letters",
            "SELECT 1 FROM score_logs",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)
    finally:
        await asyncio.gather(conn.close(), other.close())


@pytest.mark.parametrize("other", ["postgres", "template1"])
@pytest.mark.parametrize("role", [OWNER, *SERVICES])
async def test_postgres_lets_accounts_into_their_own_database_alone(
    postgres_server: PostgresServer, role: str, other: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(postgres_server.url(role, other))


async def test_postgres_takes_nobody_without_the_password(database: Database) -> None:
    url = database.url("score_svc")
    for wrong in (url.replace("score_svc:", "auth_svc:"), url.replace("score_svc:", "score_svc:x")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)


OWN_KEYS: Mapping[str, tuple[str, ...]] = {  # that the account writes
    "auth_svc": ("sb:deny:s", "sb:guess:address:a"),
    "score_svc": ("sb:claim:c", "sb:rate:r"),
    "worker": ("sb:b:1:0:z", "sb:users", "sb:refs", "sb:view", "sb:boards"),
    "leaderboard_svc": (),
    "admin_svc": (),
    "stream_svc": (),
}
KEYS = ("other", *(key for keys in OWN_KEYS.values() for key in keys))
NO_SERVICE_MAY = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("CONFIG", "GET", "requirepass"),
    ("CONFIG", "SET", "appendonly", "no"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "worker", "nopass"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "PAUSE", "1"),
    ("SHUTDOWN", "NOSAVE"),
    ("SAVE",),
    ("BGREWRITEAOF",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MIGRATE", "127.0.0.1", "1", "sb:users", "0", "1"),
    ("MODULE", "LIST"),
    ("SLOWLOG", "GET"),
    ("MONITOR",),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "FLUSH"),
    ("SWAPDB", "0", "1"),
    ("PUBLISH", "other", "x"),
    ("SUBSCRIBE", "other"),
    ("PSUBSCRIBE", "*"),
)


@pytest.mark.parametrize("account", SERVICES)
async def test_redis_lets_a_service_write_its_own_keys_alone(redis_view: RedisServer, account: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url(account)) as client:
        for key in KEYS:
            if key in OWN_KEYS[account]:
                await client.set(key, 1)
                continue
            with pytest.raises(NoPermissionError):
                await client.set(key, 1)
            with pytest.raises(NoPermissionError):
                await client.delete(key)


@pytest.mark.parametrize("account", SERVICES)
async def test_redis_refuses_a_service_what_is_the_operators(redis_view: RedisServer, account: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url(account)) as client:
        for command in NO_SERVICE_MAY:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_redis_lets_the_exporter_see_its_figures_alone(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis.from_url(redis_view.url(EXPORTER)) as client:
        assert (await client.info())["redis_version"]
        for command in (*NO_SERVICE_MAY, *(("GET", key) for key in KEYS), *(("SET", key, "1") for key in KEYS)):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_redis_hints_come_from_the_worker_and_go_to_stream_svc(redis_view: RedisServer) -> None:
    for account in SERVICES:
        async with redis.asyncio.Redis.from_url(redis_view.url(account)) as client:
            if account == "worker":
                assert await client.publish("sb:feed", "1:0 1 1") == 0
            else:
                with pytest.raises(NoPermissionError):
                    await client.publish("sb:feed", "1:0 1 1")


async def test_redis_takes_nobody_without_the_password(redis_view: RedisServer) -> None:
    async with redis.asyncio.Redis(port=redis_view.port) as nobody:
        with pytest.raises(AuthenticationError):
            await nobody.ping()
    url = redis_view.url("score_svc").replace("score_svc:", "worker:")
    async with redis.asyncio.Redis.from_url(url) as other:
        with pytest.raises(AuthenticationError):
            await other.ping()


ASKING = tuple(account for account in BROKER_ACCOUNTS if account not in (OWNER, "worker"))


@asynccontextmanager
async def channel(vhost: Vhost, account: str) -> AsyncIterator[Channel]:
    link = await Link.open(Address(vhost.url(account), f"test {account}", 10))
    try:
        yield await link.channel()
    finally:
        await link.close()


@pytest.fixture
async def declared(vhost: Vhost) -> Vhost:
    async with channel(vhost, "worker") as own:
        await queues.declare(own)
    return vhost


async def _published(own: Channel, exchange: str, key: str) -> None:
    """Returns when the broker has confirmed a message. Raises BrokerRefused."""
    done = asyncio.get_running_loop().create_future()
    await own.confirm(lambda _, __: done.set_result(None), lambda _, __: done.set_result(None))
    own.publish(exchange, key, b"job", is_mandatory=True)
    await own.answered(done)


@pytest.mark.parametrize("account", ASKING)
async def test_rabbitmq_who_asks_publishes_to_the_exchange_and_does_nothing_else(declared: Vhost, account: str) -> None:
    async with channel(declared, account) as own:
        await _published(own, queues.EXCHANGE, queues.UPDATES)
    for exchange, key in (("", queues.DEAD), ("", queues.UPDATES), ("amq.direct", "x"), ("amq.topic", "x")):
        async with channel(declared, account) as own:
            with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
                await _published(own, exchange, key)
    for queue in (queues.UPDATES, queues.SUSPECTS, queues.DEAD, queues.delay(1)):
        async with channel(declared, account) as own:
            with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
                await own.consume(queue, lambda _: None)
        async with channel(declared, account) as own:
            with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
                await own.delete_queue(queue)
    async with channel(declared, account) as own:
        with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
            await own.declare_queue("mine", {})
    async with channel(declared, account) as own:
        with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
            await own.unbind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)


async def test_rabbitmq_the_worker_has_no_queue_and_no_exchange_of_others(declared: Vhost) -> None:
    async with channel(declared, "worker") as own:
        with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
            await own.declare_queue("other", {})
    for exchange in ("amq.direct", "amq.topic", "amq.fanout"):
        async with channel(declared, "worker") as own:
            with pytest.raises(BrokerRefused, match="ACCESS_REFUSED"):
                await _published(own, exchange, "x")


async def test_rabbitmq_readers_have_no_account_at_all(declared: Vhost) -> None:
    async with declared.server.api() as api:
        users = {user["name"]: user["tags"] for user in (await api.get("/users")).json()}
    assert set(users) == set(BROKER_ACCOUNTS)
    assert [name for name, tags in users.items() if tags] == [OWNER]
