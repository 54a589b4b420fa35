"""Who may do what on the servers: one account a service, as docs/wiring.md lists them.

Pure: turns passwords into the lines and documents that Redis, RabbitMQ and Postgres take. What a role may
do inside Postgres stands in the migrations, which grant to these names; RabbitMQ's rights stand in
board/queues.py beside the names of the queues.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

OWNER = "scoreboard"
SERVICES = ("auth_svc", "score_svc", "worker", "leaderboard_svc", "stream_svc", "admin_svc")
ACCOUNTS = (OWNER, *SERVICES)
EXPORTER = "exporter"  # shows the servers' own figures, on one machine; a cluster has exporters of its own
LOCAL_ACCOUNTS = (*ACCOUNTS, EXPORTER)
OPERATOR = "scoreboard-cli"  # the trusted client (role admin) by which the command line comes to AdminService
BROKER_ACCOUNTS = (OWNER, "auth_svc", "score_svc", "worker", "admin_svc")
FULL_RIGHTS = {"configure": ".*", "write": ".*", "read": ".*"}

# What any client needs: to log in, to look whether Redis was replaced (INFO's run_id), to load its scripts. Rules count
# from left to right, so what tells of others' keys and clients or stops the server (KEYS, CLIENT LIST, FLUSHALL, …) is
# taken away last. SCAN and RANDOMKEY name any key, whosever it is; FUNCTION counts as writing, and is the server's.
_LIMITS = "-@dangerous -function -scan -randomkey +info"
_READ = f"+@connection +@read +time +script|load {_LIMITS}"
_WRITE = f"+@connection +@read +@write +@transaction +evalsha +time +script|load {_LIMITS}"
_VIEW = "%R~sb:b:* %R~sb:users %R~sb:refs"
# For Redis a script may write to its keys, whatever it does. The second selector lets readers run scripts on the
# view; what a script calls is checked by itself, and no selector of theirs has a command that writes.
_RUN_ON_VIEW = "(~sb:b:* ~sb:users ~sb:refs +evalsha)"
REDIS_RULES: Mapping[str, str] = {
    OWNER: "~* &* +@all",
    "auth_svc": f"~sb:deny:* ~sb:guess:* {_WRITE}",
    "score_svc": f"~sb:claim:* ~sb:rate:* %R~sb:deny:* {_WRITE}",
    "worker": f"~sb:b:* ~sb:users ~sb:refs ~sb:view ~sb:boards &sb:feed {_WRITE} +publish",
    "leaderboard_svc": f"{_VIEW} {_READ} {_RUN_ON_VIEW}",
    "admin_svc": f"{_VIEW} {_READ} {_RUN_ON_VIEW}",
    "stream_svc": f"{_VIEW} %R~sb:deny:* &sb:feed {_READ} +subscribe +unsubscribe {_RUN_ON_VIEW}",
    # It also asks SLOWLOG GET and CONFIG GET, which tell of others' commands and secrets: it does without.
    EXPORTER: "+ping +info +client|setname +latency|latest +slowlog|len",
}


def redis_acl(passwords: Mapping[str, str]) -> str:
    """Return Redis's ACL file: every account of these with its keys and commands; the default one is off."""
    lines = ["user default off"]
    for account in (account for account in LOCAL_ACCOUNTS if account in passwords):
        digest = hashlib.sha256(passwords[account].encode()).hexdigest()
        lines.append(f"user {account} on #{digest} resetchannels {REDIS_RULES[account]}")
    return "\n".join(lines) + "\n"


def rabbitmq_password_hash(password: str) -> str:
    """Return RabbitMQ's salted SHA-256 of a password, in the form that a definitions file takes."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def rabbitmq_definitions(
    passwords: Mapping[str, str],
    vhost: str,
    permissions: Mapping[str, Mapping[str, str]],
    policy: Mapping[str, object],
) -> dict[str, object]:
    """Return the definitions that RabbitMQ loads before it lets anyone in.

    permissions: account to its regular expressions `configure`, `write` and `read`; the owner may do all.
    policy: of the vhost's queues, in RabbitMQ's own words.
    """
    return {
        "users": [
            {
                "name": account,
                "password_hash": rabbitmq_password_hash(passwords[account]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"] if account == OWNER else [],
                "limits": {},
            }
            for account in BROKER_ACCOUNTS
        ],
        "vhosts": [{"name": vhost}],
        "permissions": [
            {"user": account, "vhost": vhost, **rights}
            for account, rights in {OWNER: FULL_RIGHTS, **permissions}.items()
        ],
        "policies": [{"vhost": vhost, **policy}],
    }


def mesh_definitions(passwords: Mapping[str, str], vhost: str) -> dict[str, object]:
    """Return the definitions of a mesh: the rights and the policy that board/queues.py states."""
    from board import queues  # the wheel of the client has no board; only the operator's commands come here

    return rabbitmq_definitions(passwords, vhost, queues.PERMISSIONS, queues.POLICY)


def postgres_url(account: str, password: str, port: int, database: str) -> str:
    """Return the DSN of an account."""
    return f"postgresql://{account}:{password}@127.0.0.1:{port}/{database}"


def redis_url(account: str, password: str, port: int) -> str:
    """Return the URL of an account; every mesh has a Redis of its own and uses database 0."""
    return f"redis://{account}:{password}@127.0.0.1:{port}/0"


def rabbitmq_url(account: str, password: str, port: int, vhost: str) -> str:
    """Return the URL of an account on a vhost whose name needs no quoting."""
    return f"amqp://{account}:{password}@127.0.0.1:{port}/{vhost}"


def by_file(url: str, file: Path) -> str:
    """Return the URL with its password in a file instead, which a service reads at each new connection."""
    parts = urlsplit(url)
    netloc = f"{parts.username}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=netloc, query=urlencode({"password_file": str(file)})).geturl()
