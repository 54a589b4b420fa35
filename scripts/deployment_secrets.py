"""Makes the secrets of a deployment that keeps its own (the overlay `dev`, compose.yaml): once, from chance alone.

`python -m scripts.deployment_secrets kubernetes` prints them as a list for `kubectl create -f -`, which refuses to
replace any: the databases know the first ones. `… folder DIR` writes NAME/KEY, and NAME.env of those whose keys are
variables. `… store` prints what a secret store is to hold for k8s/overlays/prod, but for its backups' key.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from board.seal import SealKey
from scoreboard.local import accounts
from scoreboard.local.postgres import SUPERUSER
from scoreboard.local.secrets import new_master_keys, new_operator_secret, new_password
from scoreboard.local.state import DATABASE, VHOST

SCALER = "keda"  # the account by which KEDA asks how long the queue is

Secrets = dict[str, dict[str, str]]


def make_store() -> Secrets:
    """Return what is random, laid out as the production's secret store has it: scoreboard/ACCOUNT, then the server."""
    made: Secrets = {account: {"postgres": new_password(), "redis": new_password()} for account in accounts.ACCOUNTS}
    for account in (*accounts.BROKER_ACCOUNTS, SCALER):
        made.setdefault(account, {})["rabbitmq"] = new_password()
    made["master-keys"] = {"json": json.dumps(new_master_keys())}
    audit_key = SealKey.new()
    made["audit-key"] = {"key": audit_key.private_pem, "public": audit_key.public_pem}
    made["operator-client"] = {"secret": new_operator_secret()}
    return {f"scoreboard/{name}": values for name, values in made.items()}


def make() -> Secrets:
    """Return each Secret's keys and values, by its name in k8s/."""
    store = {name.removeprefix("scoreboard/"): values for name, values in make_store().items()}
    superuser = new_password()
    redis = {account: store[account]["redis"] for account in accounts.ACCOUNTS}
    rabbitmq = {account: store[account]["rabbitmq"] for account in accounts.BROKER_ACCOUNTS}
    made: Secrets = {
        "postgres": {
            "password": superuser,
            "SCOREBOARD_SUPERUSER_URL": f"postgresql://{SUPERUSER}:{superuser}@postgres:5432/postgres",
        },
        "postgres-roles": {account: store[account]["postgres"] for account in accounts.ACCOUNTS},
        "redis-users": {"users.acl": accounts.redis_acl(redis)},
        "rabbitmq-definitions": {"definitions.json": json.dumps(accounts.mesh_definitions(rabbitmq, VHOST), indent=2)},
        "master-keys": {"master-keys.json": store["master-keys"]["json"]},
        "operator-client": store["operator-client"],
        "audit-key": {f"{name}.pem": pem for name, pem in store["audit-key"].items()},
    }
    return made | {secret_of(account): _urls(account, store[account]) for account in accounts.ACCOUNTS}


def secret_of(account: str) -> str:
    """Name the Secret with an account's ways to the servers."""
    return "owner" if account == accounts.OWNER else account.replace("_", "-")


def _urls(account: str, passwords: Mapping[str, str]) -> dict[str, str]:
    urls = {
        "SCOREBOARD_POSTGRES_URL": f"postgresql://{account}:{passwords['postgres']}@postgres:5432/{DATABASE}",
        "SCOREBOARD_REDIS_URL": f"redis://{account}:{passwords['redis']}@redis:6379/0",
    }
    if "rabbitmq" in passwords and account != accounts.OWNER:  # no process of the owner's speaks to RabbitMQ
        urls["SCOREBOARD_RABBITMQ_URL"] = f"amqp://{account}:{passwords['rabbitmq']}@rabbitmq:5672/{VHOST}"
    return urls


def as_kubernetes(made: Secrets) -> str:
    """Return them as a List of Secrets, which JSON writes as kubectl reads it."""
    items = [
        {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name}, "stringData": values}
        for name, values in made.items()
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def write(made: Secrets, folder: Path) -> None:
    """Write them under a folder, which alone keeps others out: containers read the files as other users.

    Raises FileExistsError when some are there.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, values in made.items():
        (folder / name).mkdir()
        for key, value in values.items():
            (folder / name / key).write_text(value)
        variables = {key: value for key, value in values.items() if key.isupper()}
        if variables:
            lines = [f"{key}={value}\n" for key, value in variables.items()]
            (folder / f"{name}.env").write_text("".join(lines))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kubernetes"]:
            print(as_kubernetes(make()))
        case ["store"]:
            print(json.dumps(make_store(), indent=2))
        case ["folder", name]:
            write(make(), Path(name))
        case _:
            sys.exit("Say for what: python -m scripts.deployment_secrets kubernetes | folder DIR | store")
