"""RabbitMQ: what services import of it. Publishes with confirms, and consumes, over connections that come back.

Knows nothing of scores: names of queues and what a message means are the caller's.

Give consumers a connection of their own: under a memory alarm the broker stops reading a connection that
publishes, and acks on it would be stuck behind the messages.
"""

from mesh.amqp import BrokerAway, BrokerError, BrokerRefused, Channel, QueueFull, Unroutable
from mesh.rabbitmq_connection import Connection, backoff_s
from mesh.rabbitmq_consumer import Consumer, Delivery
from mesh.rabbitmq_publisher import DIRECT_REPLY_TO, Publisher

__all__ = [
    "DIRECT_REPLY_TO",
    "BrokerAway",
    "BrokerError",
    "BrokerRefused",
    "Channel",
    "Connection",
    "Consumer",
    "Delivery",
    "Publisher",
    "QueueFull",
    "Unroutable",
    "backoff_s",
]
