"""Names the exchange and the queues that jobs travel through, and declares them.

Which queue a job goes to is the callers' decision. Holds always: every queue is durable and replicated, refuses
what it has no room for instead of dropping what it has, and moves a message on only when the next queue has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mesh.rabbitmq import Channel

EXCHANGE: Final = "scoreboard.updates"  # whoever asks publishes here, with the queue as the routing key
UPDATES: Final = "scoreboard.updates"  # envelopes of jobs, as they were accepted
SUSPECTS: Final = "scoreboard.suspects"  # redelivered, back from a delay, or replayed by an operator
DEAD: Final = "scoreboard.dead"  # jobs that were given up, until they are filed

DELAYS_S: Final[tuple[float, ...]] = (1, 5, 30, 120)  # a queue has one delay: a TTL expires at its head alone
MAX_BYTES: Final = 256 * 1024 * 1024  # about 1.7 million jobs of 150 bytes: minutes of load, not hours

# Deliveries of one message, as a backstop: jobs count their own attempts, and a worker that dies with many messages
# in hand must not send the innocent to the dead letters. A policy, for a queue's arguments can never be changed.
POLICY: Final[dict[str, Any]] = {
    "name": "scoreboard-delivery-limit",
    "pattern": r"^scoreboard\.(updates|suspects|delay)",
    "apply-to": "queues",
    "priority": 0,
    "definition": {"delivery-limit": 100},
}

_ASKING = {"configure": "^$", "write": r"^scoreboard\.updates$", "read": "^$"}  # jobs, by the exchange alone

# What each account may do, as RabbitMQ's regular expressions. The default exchange is called amq.default there;
# direct reply-to needs no right.
PERMISSIONS: Final[dict[str, dict[str, str]]] = {
    "admin_svc": _ASKING,
    "auth_svc": _ASKING,
    "score_svc": _ASKING,
    "worker": {
        "configure": r"^scoreboard\.",
        "write": r"^(scoreboard\..+|amq\.default)$",
        "read": r"^scoreboard\.",
    },
}


def delay(delay_s: float) -> str:
    """Names the queue that holds a job for `delay_s` seconds."""
    return f"scoreboard.delay.{delay_s:g}"


async def declare(channel: Channel, *, max_bytes: int = MAX_BYTES, delays_s: Sequence[float] = DELAYS_S) -> None:
    """Makes the exchange and the queues, unless they are there; `max_bytes` limits each but the dead letters.

    Raises BrokerAway, and BrokerRefused when one is there with other arguments.
    """
    await channel.declare_queue(DEAD, {"x-queue-type": "quorum"})
    for queue in (UPDATES, SUSPECTS):
        await channel.declare_queue(queue, _arguments(DEAD, max_bytes))
    for delay_s in delays_s:
        arguments = _arguments(SUSPECTS, max_bytes) | {"x-message-ttl": round(delay_s * 1000)}
        await channel.declare_queue(delay(delay_s), arguments)
    await channel.declare_exchange(EXCHANGE)
    for queue in (UPDATES, SUSPECTS):
        await channel.bind_queue(queue, EXCHANGE, queue)


def _arguments(next_queue: str, max_bytes: int) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": next_queue,
        "x-dead-letter-strategy": "at-least-once",
        # With drop-head, at-least-once would silently become at-most-once.
        "x-overflow": "reject-publish",
        "x-max-length-bytes": max_bytes,
    }
