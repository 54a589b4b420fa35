"""Hashes and checks passwords with argon2id, in threads and in bounded number.

Holds always: an unknown user costs the same work as a wrong password, and more work than the cores can do soon is
refused at once instead of queued.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mesh import metrics
from mesh.reasons import Reason
from mesh.refusal import Refused

_HASHES = metrics.gauge("scoreboard_auth_hashes")
_HASHES_MAX = metrics.gauge("scoreboard_auth_hashes_max").child()
_DURATION = metrics.histogram("scoreboard_auth_hash_duration_seconds").child()

T = TypeVar("T")


class Hasher:
    """argon2id with one thread a core; argon2 lets go of the interpreter's lock while it works."""

    def __init__(self, *, memory_kib: int, passes: int, waiting_max: int) -> None:
        self._argon2 = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._waiting_max = waiting_max
        self._in_hand = 0
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="argon2")
        _HASHES.read(lambda: self._in_hand)
        _HASHES_MAX.value = waiting_max
        self._nobody = self._argon2.hash(secrets.token_bytes(32))

    def close(self) -> None:
        """Ends the threads; hashes that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: bytes) -> str:
        """Returns the password's hash with its parameters. Raises Refused(QUEUE_FULL)."""
        return await self._run(lambda: str(self._argon2.hash(password)))

    async def verify(self, password_hash: str | None, password: bytes) -> bool:
        """Says whether the password fits; None: an unknown user, which never fits. Raises Refused(QUEUE_FULL)."""
        fits = await self._run(lambda: self._fits(password_hash or self._nobody, password))
        return fits and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """True when the hash was made with other parameters than today's."""
        return bool(self._argon2.check_needs_rehash(password_hash))

    def _fits(self, password_hash: str, password: bytes) -> bool:
        try:
            return bool(self._argon2.verify(password_hash, password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._in_hand >= self._waiting_max:
            raise Refused(Reason.QUEUE_FULL, "Too many players are signing in right now; try again.", retry_after_s=1)
        began = metrics.clock()
        self._in_hand += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._in_hand -= 1
            _DURATION.observe(metrics.clock() - began)
