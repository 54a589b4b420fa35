"""Settings: the environment alone, read once at start, frozen (docs/wiring.md lists the shared ones).

A service's class inherits the groups that it needs and adds its own fields; a field `score_port` is read from
SCOREBOARD_SCORE_PORT. A wrong value stops the process with the variable's name and what it must be.
"""

import os
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SCOREBOARD_"


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")


class ServiceSettings(_Environment):
    """What every process has."""

    host: str = Field("127.0.0.1", description="address to listen on")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="lowest level that is logged")
    drain_s: float = Field(0.5, ge=0, le=60, description="seconds between NOT_SERVING and the end of accepting calls")
    stop_grace_s: float = Field(5.0, ge=0, le=120, description="seconds that calls in flight get to finish")


class PostgresSettings(_Environment):
    """For those that use Postgres."""

    postgres_url: str = Field(repr=False, description="postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE")


class RedisSettings(_Environment):
    """For those that use Redis."""

    redis_url: str = Field(repr=False, description="redis://USER:PASSWORD@HOST:PORT/NUMBER")


class RabbitSettings(_Environment):
    """For those that use RabbitMQ."""

    rabbitmq_url: str = Field(repr=False, description="amqp://USER:PASSWORD@HOST:PORT/VHOST, percent-encoded")


class TokenSettings(_Environment):
    """For those that verify or issue access tokens."""

    issuer: str = Field(description="`iss` of access tokens: the gateway's URL")
    audience: str = Field("scoreboard", description="`aud` of access tokens")


class VerifierSettings(TokenSettings):
    """For those that verify access tokens."""

    jwks_url: str = Field(description="where auth_svc publishes its keys")


class MasterKeySettings(_Environment):
    """For those that derive keys."""

    master_keys_file: Path = Field(description="JSON file of the master keys, mode 0600")


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S]) -> S:
    """Returns the settings from the environment; exits with status 2 and one line a wrong variable."""
    try:
        return settings_class()
    except ValidationError as e:
        for error in e.errors():
            name = PREFIX + "_".join(str(part) for part in error["loc"]).upper()
            given = os.environ.get(name)
            shown = f"{name}={given}" if given is not None and not name.endswith("_URL") else name
            print(f"{shown}: {error['msg']}", file=sys.stderr)
        sys.exit(2)
