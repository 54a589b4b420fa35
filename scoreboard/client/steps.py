"""What a plan yields and is sent: one step after the other, which aio.py and blocking.py do in their ways."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

from scoreboard.client.errors import ScoreboardError
from scoreboard.v1 import auth_pb2

R = TypeVar("R")
Metadata: TypeAlias = tuple[tuple[str, str], ...]
Session: TypeAlias = auth_pb2.Session


@dataclass(frozen=True)
class Call:
    """Make the unary call that this request is for; its response is the answer."""

    request: Message
    metadata: Metadata
    timeout_s: float


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Alone:
    """Carry a plan out while no other of this client's is carried out alone; do not wait for that past the deadline."""

    plan: Plan[None]
    within_s: float


@dataclass(frozen=True)
class Keep:
    """Give the session, or its end, to whoever keeps it."""

    session: Session | None


Step: TypeAlias = Call | Sleep | Alone | Keep
Answer: TypeAlias = Message | ScoreboardError | None
Plan: TypeAlias = Generator[Step, Answer, R]


@dataclass(frozen=True)
class World:
    """Time and chance. `unix_s` goes on while a machine sleeps, `monotonic_s` is never set; `chance` is below 1."""

    unix_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = os.urandom


def bearer(token: str) -> Metadata:
    """Returns the metadata that carries an access token; none for an empty one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def do(step: Step) -> Generator[Step, Answer, Any]:
    """Has a step done. Raises the ScoreboardError that came of it."""
    answer = yield step
    if isinstance(answer, ScoreboardError):
        raise answer
    return answer
