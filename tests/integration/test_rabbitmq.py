"""The broker connection on a real RabbitMQ that these tests freeze, kill and start again."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from functools import partial

import pika
import pytest

from board import queues
from mesh import amqp
from mesh.rabbitmq import (
    DIRECT_REPLY_TO,
    BrokerAway,
    BrokerRefused,
    Connection,
    Consumer,
    Publisher,
    QueueFull,
    Unroutable,
    backoff_s,
)
from scoreboard.local.accounts import OWNER
from scoreboard.local.ports import Ports
from tests.fault.process import Rabbitmq
from tests.servers import Vhost, delete_vhost, make_vhost
from tests.sizes import BUSY, Record, sized
from tests.waiting import SCALE, eventually

PATIENCE_S = 30 * SCALE
ANSWER_S = (2 + BUSY) * SCALE  # 3 s where nothing else runs: the publisher's own timer says 2
DELAYS_S = (0.2, 1)


class Mesh:
    """One test's vhost: opens connections to it and closes them all at the end."""

    def __init__(self, vhost: Vhost):
        self.vhost = vhost
        self.opened: list[Connection] = []

    def connect(self, user: str = OWNER, max_bytes: int | None = None) -> Connection:
        declare = partial(queues.declare, max_bytes=max_bytes or 2**26, delays_s=DELAYS_S)
        connection = Connection(
            self.vhost.url(user), f"test {user}", on_connect=None if user == "score_svc" else declare
        )
        connection.start()
        self.opened.append(connection)
        return connection

    async def publisher(self, on_reply: Callable[[bytes], None] | None = None) -> Publisher:
        connection = self.connect()
        publisher = Publisher(connection, on_reply)
        await connection.wait_ready(PATIENCE_S)
        return publisher

    async def consumer(self, queue: str = queues.UPDATES, prefetch: int = 100) -> Consumer:
        connection = self.connect()
        consumer = Consumer(connection, queue, prefetch=prefetch)
        await connection.wait_ready(PATIENCE_S)
        return consumer


@pytest.fixture
async def mesh(breakable_rabbitmq: Rabbitmq) -> AsyncIterator[Mesh]:
    mesh = Mesh(await make_vhost(breakable_rabbitmq.server))
    yield mesh
    for connection in mesh.opened:
        await connection.close()
    await delete_vhost(mesh.vhost)


async def send(publisher: Publisher, *bodies: bytes) -> None:
    await asyncio.gather(*(publisher.publish(queues.EXCHANGE, queues.UPDATES, body) for body in bodies))


async def outcome(publisher: Publisher, body: bytes) -> tuple[str, float]:
    """Publishes once, and returns how it ended and after how many seconds."""
    began = time.monotonic()
    try:
        await publisher.publish(queues.EXCHANGE, queues.UPDATES, body)
    except BrokerAway:
        return "away", time.monotonic() - began
    return "ok", time.monotonic() - began


async def received(consumer: Consumer, count: int) -> list[bytes]:
    async with asyncio.timeout(PATIENCE_S):
        bodies = []
        for _ in range(count):
            delivery = await consumer.get()
            consumer.ack(delivery)
            bodies.append(delivery.body)
        return bodies


@asynccontextmanager
async def frozen(breakable_rabbitmq: Rabbitmq) -> AsyncIterator[None]:
    breakable_rabbitmq.freeze()
    try:
        yield
    finally:
        breakable_rabbitmq.thaw()


async def test_thousand_publishes_are_confirmed_together(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    bodies = [str(number).encode() for number in range(1000)]
    await send(publisher, *bodies)
    assert publisher.inflight_messages == 0
    assert sorted(await received(await mesh.consumer(), 1000)) == sorted(bodies)


async def test_a_connection_that_was_reset_as_it_was_made_is_told_to_whoever_waits() -> None:
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    unconnected = socket.socket()
    unconnected.setblocking(False)
    amqp.IOServices(asyncio.get_running_loop()).create_streaming_connection(lambda: None, unconnected, told.set_result)
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await told, ConnectionResetError)
    assert unconnected.fileno() == -1, "closed"


async def test_what_must_not_be_lost_is_marked_as_persistent(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    await send(publisher, b"kept")

    def delivery_mode() -> int | None:
        with closing(pika.BlockingConnection(pika.URLParameters(mesh.vhost.url(OWNER)))) as connection:
            _, properties, _ = connection.channel().basic_get(queues.UPDATES)
            mode: int | None = properties.delivery_mode
            return mode

    assert await asyncio.to_thread(delivery_mode) == pika.DeliveryMode.Persistent.value


async def test_message_for_no_queue_is_never_confirmed(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    good = asyncio.gather(*(outcome(publisher, b"good") for _ in range(50)))
    with pytest.raises(Unroutable):
        await publisher.publish(queues.EXCHANGE, "nowhere", b"lost")
    assert {kind for kind, _ in await good} == {"ok"}
    channel = await mesh.opened[0].open_channel()
    await channel.unbind_queue(queues.UPDATES, queues.EXCHANGE, queues.UPDATES)
    with pytest.raises(Unroutable):
        await send(publisher, b"lost")


async def test_full_queue_pushes_back_until_it_is_read(mesh: Mesh) -> None:
    connection = mesh.connect(max_bytes=20_000)
    publisher = Publisher(connection)
    consumer = Consumer(connection, queues.UPDATES, prefetch=1)
    consumer.pause()
    await connection.wait_ready(PATIENCE_S)

    async def fill() -> int:
        sent = 0
        while True:
            await send(publisher, bytes(1000))
            sent += 1

    with pytest.raises(QueueFull):
        async with asyncio.timeout(PATIENCE_S):
            await fill()
    consumer.resume()
    await received(consumer, 20)
    await send(publisher, b"fits again")


async def test_exchange_that_is_missing_refuses_and_the_channel_comes_back(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    with pytest.raises(BrokerRefused):
        await publisher.publish("no-such-exchange", "x", b"")
    await publisher.wait_ready(PATIENCE_S)
    await send(publisher, b"fine")


@pytest.mark.promise(row=3)
async def test_killed_broker_ends_each_publish_in_time_and_keeps_what_it_confirmed(
    breakable_rabbitmq: Rabbitmq, mesh: Mesh, record_property: Record
) -> None:
    replies: list[bytes] = []
    publisher = await mesh.publisher(replies.append)
    consumer = await mesh.consumer()
    answers = await mesh.publisher()
    consumer.pause()
    results: dict[bytes, tuple[str, float]] = {}
    kills, results_each = sized((1, 500), (5, 5_000))

    async def keep_publishing(lane: str) -> None:
        for number in itertools.count():
            body = f"{lane}-{number}".encode()
            results[body] = await outcome(publisher, body)
            if results[body][0] == "away":
                return

    for kill in range(kills):
        lanes = asyncio.gather(*(keep_publishing(f"{kill}-{lane}") for lane in range(64)))
        await eventually(lambda: len(results) > (kill + 1) * results_each)  # noqa: B023 — awaited in here
        await breakable_rabbitmq.kill()
        await lanes
        assert (await outcome(publisher, b"while away"))[0] == "away"
        assert not publisher.is_ready
        await breakable_rabbitmq.start()
        for connection in mesh.opened:
            await connection.wait_ready(PATIENCE_S)
    assert max(seconds for _, seconds in results.values()) < ANSWER_S
    await publisher.publish(queues.EXCHANGE, queues.UPDATES, b"last", reply_to=DIRECT_REPLY_TO)
    consumer.resume()
    confirmed = {body for body, (kind, _) in results.items() if kind == "ok"} | {b"last"}
    lost = set(confirmed)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while lost:
                delivery = await consumer.get()
                consumer.ack(delivery)
                lost.discard(delivery.body)
                if delivery.reply_to:
                    assert answers.publish_nowait("", delivery.reply_to, b"answer")
    for name, count in (("faults", kills), ("updates", len(confirmed)), ("lost", len(lost))):
        record_property(name, count)
    assert not lost
    await eventually(lambda: replies == [b"answer"])


@pytest.mark.promise(row=8)
async def test_frozen_broker_is_not_waited_for(breakable_rabbitmq: Rabbitmq, mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    await send(publisher, b"before")
    began = time.monotonic()
    async with frozen(breakable_rabbitmq):
        big = [outcome(publisher, bytes(2**20)) for _ in range(20)]
        results = await asyncio.gather(*big)
        assert {kind for kind, _ in results} == {"away"}
        assert max(seconds for _, seconds in results) < ANSWER_S
        # Past the bound in bytes the answer comes at once, and what waits is still counted.
        assert min(seconds for _, seconds in results) < 0.5
        assert publisher.inflight_messages == 16
        assert (await outcome(publisher, b"late"))[1] < 0.5
        await eventually(lambda: time.monotonic() - began > 3)
    await eventually(lambda: publisher.inflight_messages == 0)
    await send(publisher, b"after")


async def test_lost_connection_comes_back_with_its_reply_and_queue_consumers(
    breakable_rabbitmq: Rabbitmq, mesh: Mesh
) -> None:
    replies: list[bytes] = []
    publisher = await mesh.publisher(replies.append)
    consumer = await mesh.consumer()
    await send(publisher, b"held")
    async with asyncio.timeout(PATIENCE_S):
        held = await consumer.get()
    await breakable_rabbitmq.ctl("close_all_connections", "--vhost", mesh.vhost.name, "by a test")
    await eventually(lambda: not consumer.is_held(held))
    for connection in mesh.opened:
        await connection.wait_ready(PATIENCE_S)
    consumer.ack(held)  # of the dead channel: must ack nothing on the new one
    consumer.ack_up_to(held)
    async with asyncio.timeout(PATIENCE_S):
        again = await consumer.get()
    assert (again.body, again.is_redelivered, again.delivery_count) == (b"held", True, 1)
    assert consumer.is_held(again)
    consumer.ack(again)
    await publisher.publish(queues.EXCHANGE, queues.UPDATES, b"question", reply_to=DIRECT_REPLY_TO)
    async with asyncio.timeout(PATIENCE_S):
        question = await consumer.get()
    assert question.reply_to is not None
    assert publisher.publish_nowait("", question.reply_to, b"answer")
    await eventually(lambda: replies == [b"answer"])


async def test_reply_survives_a_delay_queue(mesh: Mesh) -> None:
    replies: list[bytes] = []
    asker = await mesh.publisher(replies.append)
    worker = await mesh.publisher()
    suspects = await mesh.consumer(queues.SUSPECTS)
    began = time.monotonic()
    for delay_s in DELAYS_S:
        await asker.publish("", queues.delay(delay_s), str(delay_s).encode(), reply_to=DIRECT_REPLY_TO)
    for delay_s in DELAYS_S:
        async with asyncio.timeout(PATIENCE_S):
            delivery = await suspects.get()
        assert time.monotonic() - began >= delay_s
        assert (delivery.body, delivery.delivery_count) == (str(delay_s).encode(), 0)
        assert delivery.reply_to is not None
        assert worker.publish_nowait("", delivery.reply_to, delivery.body)
        suspects.ack(delivery)
    await eventually(lambda: replies == [b"0.2", b"1"])


async def test_reply_to_an_asker_who_left_harms_nobody(mesh: Mesh) -> None:
    asker = await mesh.publisher(lambda _: None)
    await asker.publish(queues.EXCHANGE, queues.UPDATES, b"question", reply_to=DIRECT_REPLY_TO)
    await mesh.opened[0].close()
    worker = await mesh.publisher()
    async with asyncio.timeout(PATIENCE_S):
        question = await (await mesh.consumer()).get()
    assert question.reply_to is not None
    assert worker.publish_nowait("", question.reply_to, b"answer")
    await send(worker, b"still here")
    assert worker.is_ready
    assert worker.inflight_messages == 0


async def test_failing_reply_handler_harms_nobody(mesh: Mesh) -> None:
    seen: list[bytes] = []

    def on_reply(body: bytes) -> None:
        seen.append(body)
        raise ValueError(body)

    publisher = await mesh.publisher(on_reply)
    consumer = await mesh.consumer()
    await publisher.publish(queues.EXCHANGE, queues.UPDATES, b"question", reply_to=DIRECT_REPLY_TO)
    async with asyncio.timeout(PATIENCE_S):
        question = await consumer.get()
    for body in (b"1", b"2"):
        publisher.publish_nowait("", question.reply_to or "", body)
    await eventually(lambda: seen == [b"1", b"2"])
    assert publisher.is_ready


async def test_multiple_ack_covers_what_came_before_and_nothing_after(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    for number in range(10):
        await send(publisher, str(number).encode())
    consumer = await mesh.consumer()
    async with asyncio.timeout(PATIENCE_S):
        held = [await consumer.get() for _ in range(10)]
    consumer.ack_up_to(held[5])
    await mesh.opened[-1].close()
    async with asyncio.timeout(PATIENCE_S):
        again = await mesh.consumer()
        rest = [await again.get() for _ in range(4)]
    assert [(each.body, each.is_redelivered) for each in rest] == [(str(n).encode(), True) for n in range(6, 10)]
    assert again.get_waiting(10) == []


async def test_paused_consumer_keeps_what_it_holds_and_counts_no_delivery(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    consumer = await mesh.consumer(prefetch=2)
    consumer.pause()
    await send(publisher, b"1")
    await send(publisher, b"2")
    await send(publisher, b"3")
    waiting = asyncio.create_task(consumer.get())
    channel = await mesh.opened[0].open_channel()
    async with asyncio.timeout(PATIENCE_S):
        while await channel.count_ready(queues.UPDATES) != 1:
            pass
    assert consumer.is_paused
    assert not waiting.done()
    assert consumer.get_waiting(10) == []
    consumer.resume()
    async with asyncio.timeout(PATIENCE_S):
        deliveries = [await waiting, await consumer.get()]
        consumer.ack_up_to(deliveries[-1])
        deliveries.append(await consumer.get())
    assert [(each.body, each.delivery_count) for each in deliveries] == [(b"1", 0), (b"2", 0), (b"3", 0)]


async def test_paused_consumer_that_lost_its_channel_holds_nothing_until_it_goes_on(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    consumer = await mesh.consumer()
    consumer.pause()
    await send(publisher, b"1")
    channel = await mesh.opened[0].open_channel()

    async def are_ready(count: int) -> bool:
        return await channel.count_ready(queues.UPDATES) == count

    await eventually(lambda: are_ready(0), what="a message that the consumer holds")
    lost = consumer._channel
    assert lost is not None
    lost.close()
    await eventually(lambda: consumer.is_up and consumer._channel is not lost, what="another channel")
    await eventually(lambda: are_ready(1), what="the message back in the queue")
    consumer.resume()
    assert await received(consumer, 1) == [b"1"]


async def test_consumer_that_goes_on_while_the_broker_does_not_answer_is_subscribed_later(
    breakable_rabbitmq: Rabbitmq, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = await mesh.publisher()
    consumer = await mesh.consumer()
    consumer.pause()
    lost = consumer._channel
    assert lost is not None
    lost.close()
    await eventually(lambda: consumer.is_up and consumer._channel is not lost, what="another channel")
    async with frozen(breakable_rabbitmq):
        with monkeypatch.context() as patch:
            patch.setattr(amqp, "CALL_TIMEOUT_S", 0.1)
            consumer.resume()
            assert consumer._subscribing is not None
            await consumer._subscribing
    await send(publisher, b"1")
    assert await received(consumer, 1) == [b"1"]


async def test_consumer_survives_the_deletion_of_its_queue(mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    consumer = await mesh.consumer()
    channel = await mesh.opened[0].open_channel()
    await channel.delete_queue(queues.UPDATES)
    await eventually(lambda: not consumer.is_up)
    await queues.declare(channel, max_bytes=2**26, delays_s=DELAYS_S)
    await send(publisher, b"again")
    assert await received(consumer, 1) == [b"again"]


async def test_consumers_of_one_connection_have_channels_of_their_own(mesh: Mesh) -> None:
    connection = mesh.connect()
    updates = Consumer(connection, queues.UPDATES, prefetch=10)
    suspects = Consumer(connection, queues.SUSPECTS, prefetch=1)
    publisher = await mesh.publisher()
    await connection.wait_ready(PATIENCE_S)
    await send(publisher, b"update")
    await publisher.publish("", queues.SUSPECTS, b"suspect", headers={"x": 1})
    assert await received(updates, 1) == [b"update"]
    async for delivery in suspects:
        assert (delivery.body, delivery.headers["x"]) == (b"suspect", 1)
        suspects.ack(delivery)
        break


@pytest.mark.promise(row=8)
async def test_memory_alarm_refuses_at_once_and_passes(breakable_rabbitmq: Rabbitmq, mesh: Mesh) -> None:
    publisher = await mesh.publisher()
    consumer = await mesh.consumer()
    await send(publisher, b"before")
    await breakable_rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        # The broker says so only to a connection that publishes.
        assert (await outcome(publisher, b"first"))[1] < ANSWER_S
        await eventually(lambda: not publisher.is_ready)
        results = await asyncio.gather(*(outcome(publisher, b"refused") for _ in range(100)))
        assert {kind for kind, _ in results} == {"away"}
        assert max(seconds for _, seconds in results) < 0.5
        assert publisher.inflight_messages <= 1  # the first: none of what was refused waits
        assert not publisher.publish_nowait("", "nowhere", b"")
        assert b"before" in await received(consumer, 1)
    finally:
        await breakable_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    await eventually(lambda: publisher.is_ready)
    await send(publisher, b"after")


async def test_each_account_can_do_its_work_and_no_more(mesh: Mesh) -> None:
    replies: list[bytes] = []
    worker = mesh.connect("worker")
    updates = Consumer(worker, queues.UPDATES, prefetch=10)
    answers = Publisher(worker)
    await worker.wait_ready(PATIENCE_S)
    score = mesh.connect("score_svc")
    asker = Publisher(score, replies.append)
    await score.wait_ready(PATIENCE_S)
    await asker.publish(queues.EXCHANGE, queues.UPDATES, b"job", reply_to=DIRECT_REPLY_TO)
    async with asyncio.timeout(PATIENCE_S):
        delivery = await updates.get()
    assert delivery.reply_to is not None
    assert answers.publish_nowait("", delivery.reply_to, b"result")
    await answers.publish("", queues.delay(0.2), b"retry")
    await answers.publish("", queues.DEAD, b"dead")
    updates.ack(delivery)
    await eventually(lambda: replies == [b"result"])

    for exchange, key in (("", queues.DEAD), ("", "amq.rabbitmq.reply-to"), ("amq.direct", "x")):
        await asker.wait_ready(PATIENCE_S)
        with pytest.raises(BrokerRefused):
            await asker.publish(exchange, key, b"forged")
    with pytest.raises(BrokerRefused):
        await (await score.open_channel()).declare_queue("scoreboard.mine", {})
    with pytest.raises(BrokerRefused):
        await (await score.open_channel()).consume(queues.UPDATES, lambda _: None)
    with pytest.raises(BrokerRefused):
        await (await worker.open_channel()).declare_queue("another", {})
    with pytest.raises(BrokerRefused):
        await answers.publish("amq.direct", "x", b"")


async def test_differing_declaration_is_refused(mesh: Mesh) -> None:
    await mesh.publisher()
    channel = await mesh.opened[0].open_channel()
    with pytest.raises(BrokerRefused):
        await queues.declare(channel, max_bytes=1, delays_s=DELAYS_S)


async def test_messages_may_be_held_for_as_long_as_postgres_may_be_away(breakable_rabbitmq: Rabbitmq) -> None:
    said = await breakable_rabbitmq.ctl("eval", "application:get_env(rabbit, consumer_timeout).")
    milliseconds = said.strip().removeprefix("{ok,").removesuffix("}")
    assert timedelta(milliseconds=int(milliseconds)) >= timedelta(days=30)


async def test_no_broker_is_an_answer() -> None:
    ports = Ports()
    port = ports.take("nobody")
    ports.release_all()
    connection = Connection(f"amqp://a:b@127.0.0.1:{port}/", "test nobody")
    publisher = Publisher(connection)
    connection.start()
    with pytest.raises(BrokerAway):
        await publisher.publish("", "x", b"")
    with pytest.raises(BrokerAway):
        await connection.wait_ready(0.3)
    assert not connection.is_ready
    await connection.close()


def test_backoff_grows_to_its_cap_and_is_spread() -> None:
    assert [backoff_s(attempt, 0.0) for attempt in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff_s(1000, 0.5) == 1.5
