"""Redis: clients with bounded waits."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis.asyncio
from redis.connection import HiredisRespSerializer
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
)
from redis.typing import EncodableT

from mesh import metrics, password_file
from mesh.breaker import Breaker

_CONNECTIONS = metrics.gauge("scoreboard_redis_connections")
_CONNECTIONS_MAX = metrics.gauge("scoreboard_redis_connections_max")
_FAILURES = metrics.counter("scoreboard_redis_failures_total").child()

TIMEOUT_S = 0.25  # views and guards: Postgres answers instead, so a slow Redis is worth little waiting
POOL_SIZE = 64

#: Errors that mean Redis is away, or takes no writes (it evicts nothing), rather than that we asked wrongly.
AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)


def connect(url: str, *, timeout_s: float = TIMEOUT_S, shown_as: str = "main") -> "redis.asyncio.Redis":
    """Returns a client whose calls end within about `timeout_s`; waits for a free connection instead of failing.

    shown_as: its pool's name among the metrics.
    """
    url, file = password_file.take(url)
    parts = urlsplit(url)
    credentials = None
    if file is not None:
        credentials = _ByFile(unquote(parts.username or ""), file)
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # it takes a user by one way alone
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        credential_provider=credentials,
        max_connections=POOL_SIZE,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # The caller decides: a script that was sent may have run, and ours are safe to send again.
        retry_on_timeout=False,
    )
    is_encrypted = issubclass(pool.connection_class, redis.asyncio.SSLConnection)  # by the URL's scheme, rediss
    pool.connection_class = _TlsConnection if is_encrypted else _Connection
    # redis-py tells these by no public name.
    _CONNECTIONS.read(lambda: len(pool._available_connections), shown_as, "idle")
    _CONNECTIONS.read(lambda: len(pool._in_use_connections), shown_as, "busy")
    _CONNECTIONS_MAX.read(lambda: pool.max_connections, shown_as)
    return redis.asyncio.Redis.from_pool(pool)  # from_pool: closing the client closes the pool


class _ByFile(redis.CredentialProvider):
    """A user's password, as the file's first line has it by now: Redis takes the one before it as well meanwhile."""

    def __init__(self, user: str, file: Path) -> None:
        self._user = user
        self._file = file

    def get_credentials(self) -> tuple[str, str]:
        return self._user, password_file.read(self._file)[0]

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


class _Connection(redis.asyncio.Connection):
    _packer = HiredisRespSerializer()

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        # In C, as the client that blocks does it: a script's arguments took Python a sixth of a batch's CPU.
        packed: list[bytes] = self._packer.pack(*args)  # type: ignore[arg-type]  # it takes what `args` are
        return packed

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as e:  # what uvloop calls a write after the end of a connection that nobody read yet
            raise ConnectionError(str(e)) from e


class _TlsConnection(_Connection, redis.asyncio.SSLConnection):
    pass


def text(value: bytes | str) -> str:
    """Returns what a client that decodes nothing answered; its types allow for one that does."""
    return value.decode() if isinstance(value, bytes) else value


def breaker() -> Breaker:
    """Returns a breaker for calls to Redis."""
    return Breaker(_FAILURES.inc)
