"""The services of a local mesh as programs: each `python -m NAME`, configured by environment alone (docs/wiring.md)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import scoreboard
from scoreboard.local import accounts, probe, seal_key, telemetry
from scoreboard.local.program import Program
from scoreboard.local.secrets import Secrets, password_file
from scoreboard.local.state import DATABASE, VHOST
from scoreboard.local.trouble import Trouble

TREE = Path(scoreboard.__file__).resolve().parent.parent
STOP_GRACE_S = 15.0  # over drain_s and twice stop_grace_s: of streams or the batch in hand, then of calls
ORIGINS = "SCOREBOARD_ORIGINS"
#: What a local mesh hands on from the environment of `scoreboard up`; it has no options of its own for these.
HANDED_ON = ("SCOREBOARD_AUTH_EXCHANGE_ISSUERS", ORIGINS)
REGION = ("SCOREBOARD_REGION", "SCOREBOARD_OTHER_REGIONS")  # the same, for those that tell regions apart
FOR_ALL = (telemetry.ENDPOINT, telemetry.RATIO)  # the same, for every service
EVERYONE = 20_000  # streams of one address: here all clients have the same
#: What the gateway calls; NAME-gateway is the port that it uses.
BEHIND_GATEWAY = ("auth_svc", "score_svc", "leaderboard_svc", "stream_svc")
WORKERS = 2  # the fewest that show that order and uniqueness do not rest on there being one


@dataclass(frozen=True)
class Limits:
    """The two rates that `scoreboard up` takes: of a user's updates, and of an address's sign-ups and logins."""

    updates_per_minute: int = 10
    logins_per_minute: int = 20


@dataclass(frozen=True)
class Wiring:
    """What every service's environment is made of.

    ports: by the names that `port_names` lists. data: the mesh's folder.
    """

    ports: Mapping[str, int]
    secrets: Secrets
    gateway: str
    master_keys: Path
    limits: Limits
    data: Path

    def postgres(self, account: str) -> dict[str, str]:
        """The account's way to the database."""
        password = self.secrets.postgres[account]
        url = accounts.postgres_url(account, password, self.ports["postgres"], DATABASE)
        return {"SCOREBOARD_POSTGRES_URL": self._shown("postgres", account, url)}

    def redis(self, account: str) -> dict[str, str]:
        """The account's way to Redis."""
        password = self.secrets.redis[account]
        url = accounts.redis_url(account, password, self.ports["redis"])
        return {"SCOREBOARD_REDIS_URL": self._shown("redis", account, url)}

    def rabbitmq(self, account: str) -> dict[str, str]:
        """The account's way to RabbitMQ."""
        password = self.secrets.rabbitmq[account]
        url = accounts.rabbitmq_url(account, password, self.ports["rabbitmq"], VHOST)
        return {"SCOREBOARD_RABBITMQ_URL": self._shown("rabbitmq", account, url)}

    def _shown(self, server: str, account: str, url: str) -> str:
        # A service's password is in a file that it reads again; the owner connects anew for each thing it does.
        return accounts.by_file(url, password_file(self.data, server, account)) if account in accounts.SERVICES else url

    def tokens(self) -> dict[str, str]:
        """What verifying an access token takes."""
        jwks = f"http://127.0.0.1:{self.ports['auth_svc-http']}/.well-known/jwks.json"
        return {"SCOREBOARD_JWKS_URL": jwks, "SCOREBOARD_ISSUER": self.gateway}

    def seals(self) -> dict[str, str]:
        """What sealing takes."""
        return {
            "SCOREBOARD_AUDIT_KEY_FILE": str(seal_key.key_file(self.data)),
            "SCOREBOARD_AUDIT_SEALS_FILE": str(seal_key.seals_file(self.data)),
        }

    def master(self) -> dict[str, str]:
        """Where the master keys are."""
        return {"SCOREBOARD_MASTER_KEYS_FILE": str(self.master_keys)}


def worker_names() -> list[str]:
    """Name the workers."""
    return [f"worker-{number + 1}" for number in range(WORKERS)]


def port_names() -> list[str]:
    """Name every port that the services listen on."""
    behind = [f"{name}{suffix}" for name in BEHIND_GATEWAY for suffix in ("", "-gateway")]
    inside = ["auth_svc-http", "stream_svc-http", "admin_svc", *worker_names()]
    return [*behind, *inside, *(f"{name}-ops" for name in process_names())]


def process_names() -> list[str]:
    """Name every process of ours; NAME-ops is the port of its metrics."""
    return [*BEHIND_GATEWAY, "admin_svc", *worker_names()]


def programs(wiring: Wiring) -> list[Program]:
    """Return the services and the workers. Raises Trouble when this is not a checkout."""
    if not (TREE / "worker").is_dir():
        raise Trouble(f"The services are not in {TREE}.", "Run scoreboard up in a checkout, after make setup.")
    services = [_auth(wiring), _score(wiring), _leaderboard(wiring), _stream(wiring), _admin(wiring)]
    return services + [_worker(wiring, name) for name in worker_names()]


def origins() -> tuple[str, ...]:
    """Return whose pages may call, beside the gateway's own. Raises Trouble when the variable is no list of them."""
    try:
        listed = json.loads(os.environ.get(ORIGINS, "[]"))
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise Trouble(f"{ORIGINS} is no list of origins.", f"""Write it so: {ORIGINS}='["https://game.example"]'.""")
    return tuple(listed)


def _handed_on(names: tuple[str, ...] = HANDED_ON) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _auth(wiring: Wiring) -> Program:
    environment = {
        **_handed_on((*HANDED_ON, *REGION)),
        **wiring.postgres("auth_svc"),
        **wiring.redis("auth_svc"),
        **wiring.rabbitmq("auth_svc"),
        **wiring.tokens(),
        **wiring.master(),
        "SCOREBOARD_AUTH_PORT": str(wiring.ports["auth_svc"]),
        "SCOREBOARD_AUTH_GATEWAY_PORT": str(wiring.ports["auth_svc-gateway"]),
        "SCOREBOARD_AUTH_HTTP_PORT": str(wiring.ports["auth_svc-http"]),
        "SCOREBOARD_LOGINS_PER_MINUTE": str(wiring.limits.logins_per_minute),
    }
    return _service("auth_svc", "auth_svc", "scoreboard.v1.AuthService", environment, wiring)


def _score(wiring: Wiring) -> Program:
    environment = {
        **wiring.postgres("score_svc"),
        **wiring.redis("score_svc"),
        **wiring.rabbitmq("score_svc"),
        **wiring.tokens(),
        **wiring.master(),
        "SCOREBOARD_SCORE_PORT": str(wiring.ports["score_svc"]),
        "SCOREBOARD_SCORE_GATEWAY_PORT": str(wiring.ports["score_svc-gateway"]),
        "SCOREBOARD_UPDATES_PER_MINUTE": str(wiring.limits.updates_per_minute),
    }
    return _service("score_svc", "score_svc", "scoreboard.v1.ScoreService", environment, wiring)


def _leaderboard(wiring: Wiring) -> Program:
    environment = {
        **_handed_on(REGION),
        **wiring.postgres("leaderboard_svc"),
        **wiring.redis("leaderboard_svc"),
        "SCOREBOARD_LEADERBOARD_PORT": str(wiring.ports["leaderboard_svc"]),
        "SCOREBOARD_LEADERBOARD_GATEWAY_PORT": str(wiring.ports["leaderboard_svc-gateway"]),
    }
    return _service("leaderboard_svc", "leaderboard_svc", "scoreboard.v1.LeaderboardService", environment, wiring)


def _stream(wiring: Wiring) -> Program:
    environment = {
        **_handed_on(),
        **wiring.postgres("stream_svc"),
        **wiring.redis("stream_svc"),
        **wiring.tokens(),
        "SCOREBOARD_STREAM_PORT": str(wiring.ports["stream_svc"]),
        "SCOREBOARD_STREAM_GATEWAY_PORT": str(wiring.ports["stream_svc-gateway"]),
        "SCOREBOARD_STREAM_HTTP_PORT": str(wiring.ports["stream_svc-http"]),
        "SCOREBOARD_STREAM_PER_ADDRESS_MAX": str(EVERYONE),
    }
    return _service("stream_svc", "stream_svc", "scoreboard.v1.StreamService", environment, wiring)


def _admin(wiring: Wiring) -> Program:
    environment = {
        **wiring.postgres("admin_svc"),
        **wiring.redis("admin_svc"),
        **wiring.rabbitmq("admin_svc"),
        **wiring.tokens(),
        "SCOREBOARD_ADMIN_PORT": str(wiring.ports["admin_svc"]),
    }
    return _service("admin_svc", "admin_svc", "scoreboard.v1.AdminService", environment, wiring)


def _worker(wiring: Wiring, name: str) -> Program:
    environment = {
        **wiring.postgres("worker"),
        **wiring.redis("worker"),
        **wiring.rabbitmq("worker"),
        **wiring.seals(),
        "SCOREBOARD_WORKER_PORT": str(wiring.ports[name]),
    }
    return _service(name, "worker", "worker", environment, wiring)


def _service(name: str, module: str, health_name: str, environment: Mapping[str, str], wiring: Wiring) -> Program:
    port = wiring.ports[name]
    return Program(
        name=name,
        argv=(sys.executable, "-m", module),
        port=port,
        is_ready=partial(probe.grpc_health, port, health_name),
        environment={**_handed_on(FOR_ALL), **environment, "SCOREBOARD_OPS_PORT": str(wiring.ports[f"{name}-ops"])},
        folder=TREE,
        stop_grace_s=STOP_GRACE_S,
    )
