"""Settings: the environment alone, read once at start, frozen (docs/wiring.md lists the shared ones).

A service's class inherits the groups that it needs and adds its own fields; a field `score_port` is read from
SCOREBOARD_SCORE_PORT. A wrong value stops the process with the variable's name and what it must be.
"""

import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

log = logging.getLogger(__name__)

PREFIX = "SCOREBOARD_"
REGION = "^[a-z][a-z0-9-]{0,30}$"  # what a region may be called

#: What the services behind the gateway listen on for it; None: only gRPC over HTTP/2.
GatewayPort = Annotated[int | None, Field(ge=1, le=65535, description="port of gRPC over HTTP/1.1, for the gateway")]


def _of_the_form(form: str, *schemes: str) -> AfterValidator:
    """Checks an URL with a password in it, so that no driver complains of it later by showing a part."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            # A slash or a question mark of the password would end the part with the host before the @.
            is_whole = "@" in parts.netloc or "@" not in url
            hosts = parts.netloc.rpartition("@")[2].split(",")
            is_good = parts.scheme in schemes and is_whole and all(map(_HOST.fullmatch, hosts))
        except ValueError:
            is_good = False
        if not is_good:
            raise ValueError(f"must be {form}, each part percent-encoded")
        return url

    return AfterValidator(check)


def _is_gateway(url: str) -> str:
    parts = urlsplit(url)
    try:
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        is_good = False
    if not is_good or parts.netloc.count("@") or url != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("must be http://HOST:PORT, or https:// with a name")
    return url


#: Where another region's gateway is.
Gateway = Annotated[str, AfterValidator(_is_gateway)]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]+)?")
_POSTGRES = "postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE"
_REDIS = "redis://USER:PASSWORD@HOST:PORT/NUMBER, or rediss:// for TLS"
_RABBITMQ = "amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS"


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")


class ServiceSettings(_Environment):
    """What every process has."""

    host: str = Field("127.0.0.1", description="address to listen on")
    ops_host: str = Field("127.0.0.1", description="address of /metrics")
    ops_port: int | None = Field(None, ge=1, le=65535, description="port of /metrics; none: nobody looks")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="lowest level that is logged")
    drain_s: float = Field(1.0, ge=0, le=60, description="seconds between NOT_SERVING and the end of accepting calls")
    stop_grace_s: float = Field(5.0, ge=0, le=120, description="seconds that calls in flight get to finish")
    traces_endpoint: str | None = Field(
        None, pattern=r"^http://[^/@]+:\d+$", description="OTLP/gRPC collector that spans go to; none: no spans"
    )
    traces_ratio: float = Field(0.01, ge=0, le=1, description="share of calls that begin a trace")


class RegionSettings(_Environment):
    """For those that tell regions apart."""

    region: str = Field("main", pattern=REGION, description="name of the region that this deployment is")


class PostgresSettings(_Environment):
    """For those that use Postgres."""

    postgres_url: Annotated[str, _of_the_form(_POSTGRES, "postgresql", "postgres")] = Field(
        repr=False, description=_POSTGRES
    )


class RedisSettings(_Environment):
    """For those that use Redis."""

    redis_url: Annotated[str, _of_the_form(_REDIS, "redis", "rediss")] = Field(repr=False, description=_REDIS)


class RabbitSettings(_Environment):
    """For those that use RabbitMQ."""

    rabbitmq_url: Annotated[str, _of_the_form(_RABBITMQ, "amqp", "amqps")] = Field(repr=False, description=_RABBITMQ)


class TokenSettings(_Environment):
    """For those that verify or issue access tokens."""

    issuer: str = Field(description="`iss` of access tokens: the gateway's URL")
    audience: str = Field("scoreboard", description="`aud` of access tokens")


class VerifierSettings(TokenSettings):
    """For those that verify access tokens."""

    jwks_url: str = Field(description="where auth_svc publishes its keys")


class AddressSettings(_Environment):
    """For those that count by the client's address."""

    trusted_hops: int = Field(0, ge=0, le=10, description="proxies of ours in front of the gateway")


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
            field, *inside = error["loc"]
            where = ".".join(map(str, inside)) + ": " if inside else ""
            _say(f"{_shown(str(field))}: {where}{error['msg']}")
    except SettingsError as e:  # a list that is no JSON; only its words say which
        field = str(e).partition('"')[2].partition('"')[0]
        _say(f"{_shown(field)}: must be JSON")
    sys.exit(2)


def _say(words: str) -> None:
    log.error("%s", words, extra={"event": "setting_wrong"})


def _shown(field: str) -> str:
    name = PREFIX + field.upper()
    given = os.environ.get(name)
    return f"{name}={given}" if given is not None and not name.endswith("_URL") else name
