"""`scoreboard secrets rotate`: passwords and keys are replaced while everyone plays on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import httpx
import jwt
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from mesh.amqp import Address, BrokerAway, Link
from scoreboard.local import accounts, rabbitmqctl, rotation, secrets, state
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.secrets import Secrets
from tests.e2e.commands import cli
from tests.e2e.crowd import Crowd, crowd_at
from tests.e2e.players import sign_up
from tests.e2e.protocols import Protocols
from tests.meshes import Mesh
from tests.waiting import SCALE, eventually

pytestmark = pytest.mark.timeout(300 * SCALE)


async def test_secrets_are_rotated_under_load_and_no_call_is_refused(breakable: Mesh, mesh: Protocols) -> None:
    before, ports = secrets.load(breakable.data), state.require(breakable.data).ports
    async with crowd_at(breakable, mesh, players=2, watchers=1) as crowd:
        for name in rotation.ROTATIONS:
            done = await cli(breakable, "secrets", "rotate", name)
            # That of another test may wait for its turn.
            assert done.code == 0 or (name == "token-key" and "waits to sign" in done.err), done.out + done.err
        await play_on(crowd)
        assert crowd.errors == []
        assert not crowd.met, "a call was turned away"
        await cut_all(breakable.data, ports)
        await eventually(lambda: are_connected(breakable.data), 30, "connections of each service by the new passwords")
        await play_on(crowd)
        await crowd.rest()
        assert crowd.errors == []
    await old_passwords_are_worth_nothing(before, ports)
    await eventually(lambda: are_seen(ports), 60, "exporters with the new passwords")
    after = secrets.load(breakable.data)
    assert after.postgres[SUPERUSER] == before.postgres[SUPERUSER]
    for server in ("postgres", "redis", "rabbitmq"):
        files = [secrets.password_file(breakable.data, server, account) for account in accounts.SERVICES]
        there = [file for file in files if file.exists()]
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in there)
        assert {file.read_text().strip() for file in there} <= set(getattr(after, server).values())


async def are_seen(ports: Mapping[str, int]) -> bool:
    """Whether the figures of Redis and Postgres are still to be had."""
    async with httpx.AsyncClient() as client:
        for server, figure in (("redis", "redis_up 1"), ("postgres", "pg_up 1")):
            answer = await client.get(f"http://127.0.0.1:{ports[f'{server}-exporter']}/metrics")
            if f"\n{figure}\n" not in answer.text:
                return False
    return True


async def test_a_rotated_master_key_counts_for_new_sessions_and_a_token_key_is_published(
    running: Mesh, mesh: Protocols
) -> None:
    file = secrets.master_keys_file(running.data)
    known = json.loads(file.read_text())
    kept = await sign_up(mesh)
    assert (await cli(running, "secrets", "rotate", "master-key")).code == 0
    now = json.loads(file.read_text())
    assert now["keys"].keys() - known["keys"].keys() == {str(now["current"])}

    async def has_new_key() -> bool:
        claims = jwt.decode((await sign_up(mesh)).session.access_token, options={"verify_signature": False})
        return bool(claims["skid"] == now["current"])

    await eventually(has_new_key, what="sessions of the new master key")
    said = await mesh.call("json", "UpdateScore", update := kept.update(), kept.signed(update))
    assert said.message is not None, said  # a session of the key before goes on
    done = await cli(running, "secrets", "rotate", "token-key")
    assert done.code == 0 or "waits to sign" in done.err  # that of the test before may wait
    async with asyncpg.create_pool(state.postgres_url(running.data), min_size=0, max_size=1) as owner:

        async def next_kid() -> str | None:
            kid: str | None = await owner.fetchval("SELECT kid FROM jwt_keys WHERE sign_from > now()")
            return kid

        kid = await eventually(next_kid, what="the next token key")
    done = await cli(running, "secrets", "rotate", "token-key")
    assert (done.code, "waits to sign" in done.err) == (1, True)
    async with httpx.AsyncClient(base_url=running.url) as http:
        published = (await http.get("/.well-known/jwks.json")).json()["keys"]
    assert kid in {key["kid"] for key in published}


async def test_what_cannot_be_rotated_is_refused_with_what_can(running: Mesh) -> None:
    done = await cli(running, "secrets", "rotate", "everything")
    assert done.code == 2
    assert "'master-key'" in done.err


async def play_on(crowd: Crowd) -> None:
    """Wait until updates went through that were sent from now on."""
    sent = len(crowd.sent)

    def are_told() -> bool:
        late = list(crowd.sent.values())[sent:]
        return sum(bool(one.told) for one in late) >= 5

    await eventually(are_told, 30, "updates that were sent afterwards")


async def cut_all(data: Path, ports: dict[str, int]) -> None:
    """End every connection of the services, so that each makes another."""
    superuser = accounts.postgres_url(SUPERUSER, secrets.load(data).postgres[SUPERUSER], ports["postgres"], "postgres")
    conn = await asyncpg.connect(superuser)
    try:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)"
        await conn.fetch(cut, accounts.SERVICES)
    finally:
        await conn.close()
    async with Redis.from_url(state.redis_url(data)) as owner:
        for account in accounts.SERVICES:
            await owner.execute_command("CLIENT", "KILL", "USER", account)  # type: ignore[no-untyped-call]
    await rabbitmqctl.tell(data, "close_all_connections", "a test")


async def are_connected(data: Path) -> bool:
    """Whether each service is at each of its servers."""
    conn = await asyncpg.connect(state.postgres_url(data))
    try:
        rows = await conn.fetch(
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename = ANY($1)", accounts.SERVICES
        )
    finally:
        await conn.close()
    async with Redis.from_url(state.redis_url(data)) as owner:
        users = {client["user"] for client in await owner.client_list()}
    brokers = {row["user"] for row in await rabbitmqctl.ask(data, "list_connections", "user")}
    assert set(accounts.SERVICES) - {row["usename"] for row in rows} == set()
    assert set(accounts.SERVICES) - {"admin_svc"} - users == set()  # that one comes when it is asked
    assert set(accounts.BROKER_ACCOUNTS) - {accounts.OWNER} - brokers == set()
    return True


async def old_passwords_are_worth_nothing(before: Secrets, ports: dict[str, int]) -> None:
    for account in accounts.LOCAL_ACCOUNTS:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                accounts.postgres_url(account, before.postgres[account], ports["postgres"], state.DATABASE)
            )
        async with Redis.from_url(accounts.redis_url(account, before.redis[account], ports["redis"])) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()
    for account in accounts.BROKER_ACCOUNTS:
        url = accounts.rabbitmq_url(account, before.rabbitmq[account], ports["rabbitmq"], state.VHOST)
        with pytest.raises(BrokerAway, match="ACCESS_REFUSED"):
            await Link.open(Address(url, "test", 10))
