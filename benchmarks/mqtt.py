"""MQTT at QoS 1: acked beside the best hand-written loops on paho-mqtt, interleaved.

Draining: each contender has a session with the same receive maximum, which was sent the same
messages while nobody was connected. The hand-written loop decodes the typed body in paho's
callback and acks there: no order of PUBACKs to keep, no connection to tell from the one before,
no records, nothing to nack. That is what the ratio pays for.

Publishing: 64 tasks that each await the PUBACK of one message at a time, beside paho with 64
messages on their way, where each PUBACK sends the next.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final, cast

import anyio
import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked import JSON, AckSubscription, Channel, Topic
from acked.layers.mqtt import MQTTLayer
from benchmarks.report import Report
from compose.fleet import create

WINDOW: Final = 1000
MANY: Final = 64
HAND: Final = "hand"
ACKED: Final = "acked"
BATCHES: Final = "batches"


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    note: str


Contender = Callable[[str, str, int], Awaitable[float]]
"""Given a URL, a topic and a number of messages, returns messages a second."""


def orders(count: int) -> list[Order]:
    """Return `count` bodies."""
    return [Order(number, f"customer-{number % 97}", 1999, "x" * 100) for number in range(count)]


def client_at(url: str, client_id: str) -> Client:
    """Return a client of MQTT 5 that acks nothing by itself, connected to its session."""
    client = Client(
        CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    properties = cast("Any", Properties)(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = WINDOW
    port = int(url.rpartition(":")[2])
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    return client


def subscribe_by_hand(url: str, topic: str) -> None:
    """Let the hand-written loop's session exist."""
    client = client_at(url, HAND)
    is_subscribed = False

    def on_subscribe(*_: object) -> None:
        nonlocal is_subscribed
        is_subscribed = True

    client.on_subscribe = on_subscribe
    while not client.is_connected():
        client.loop()
    client.subscribe(topic, options=SubscribeOptions(qos=1))
    while not is_subscribed:
        client.loop()
    client.disconnect()


@asynccontextmanager
async def subscribed(url: str, topic: str, group: str) -> AsyncGenerator[AckSubscription[Order]]:
    """Join `group` with the window of all."""
    async with (
        Channel(MQTTLayer(url)) as channel,
        channel.subscribe(
            Topic(topic, Order),
            group=group,
            in_flight=WINDOW,
            confirm_acks=group == BATCHES,
        ) as subscription,
    ):
        yield subscription


async def fill(url: str, topic: str, count: int) -> None:
    """Let every session exist, then publish `count` orders, which it is owed."""
    subscribe_by_hand(url, topic)
    for group in (ACKED, BATCHES):
        async with subscribed(url, topic, group):
            pass
    bodies = orders(count)
    async with Channel(MQTTLayer(url)) as channel:
        for start in range(0, count, 1000):
            await channel.publish_many(Topic(topic, Order), bodies[start : start + 1000])


async def by_hand(url: str, _topic: str, count: int) -> float:
    """Decode and ack in the callback."""
    decode = JSON.decoder(Order)
    client = client_at(url, HAND)
    left = count

    def on_message(client: Client, _data: object, message: MQTTMessage) -> None:
        nonlocal left
        decode(bytes(message.payload))
        client.ack(message.mid, message.qos)
        left -= 1

    client.on_message = on_message
    start = perf_counter()
    while left:
        client.loop()
    rate = count / (perf_counter() - start)
    client.disconnect()
    return rate


async def drain(url: str, topic: str, count: int) -> float:
    """Read one by one with `confirm_acks=False`."""
    start, left = perf_counter(), count
    async with subscribed(url, topic, ACKED) as subscription:
        async for delivery in subscription:
            await delivery.ack()
            left -= 1
            if not left:
                break
        return count / (perf_counter() - start)


async def drain_batches(url: str, topic: str, count: int) -> float:
    """Read batches and await one ack for each."""
    start, left = perf_counter(), count
    async with subscribed(url, topic, BATCHES) as subscription:
        async for batch in subscription.batches(500):
            await batch.ack()
            left -= len(batch)
            if not left:
                break
        return count / (perf_counter() - start)


async def publish_by_hand(url: str, topic: str, count: int) -> float:
    """Keep 64 messages on their way: each PUBACK sends the next."""
    encode = JSON.encoder(Order)
    client = client_at(url, "publisher")
    topic += "-published"
    bodies = iter(orders(count))
    left = count

    def send() -> None:
        body = next(bodies, None)
        if body is not None:
            client.publish(topic, encode(body), qos=1)

    def on_publish(*_: object) -> None:
        nonlocal left
        left -= 1
        send()

    client.on_publish = on_publish
    while not client.is_connected():
        client.loop()
    start = perf_counter()
    for _ in range(MANY):
        send()
    while left:
        client.loop()
    rate = count / (perf_counter() - start)
    client.disconnect()
    return rate


async def publish(url: str, topic: str, count: int) -> float:
    """Let 64 tasks publish, each awaiting its PUBACK."""
    bodies = iter(orders(count))
    to = Topic(topic + "-published", Order)

    async with Channel(MQTTLayer(url, mandatory=False)) as channel:

        async def work() -> None:
            for body in bodies:
                await channel.publish(to, body)

        start = perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(work)
        return count / (perf_counter() - start)


CONTENDERS: dict[str, Contender] = {
    "paho by hand, manual acks": by_hand,
    "acked, async for, confirm_acks=False": drain,
    "acked, batches(500)": drain_batches,
    f"paho publishing, {MANY} on their way": publish_by_hand,
    f"acked publishing, {MANY} tasks": publish,
}


def run(*, quick: bool) -> Report:
    """Measure every contender on a private server, interleaved, and return what it came to."""
    count, rounds = (5_000, 3) if quick else (20_000, 7)
    best: dict[str, float] = {}
    with create("mqtt") as broker:
        for turn in range(rounds):
            topic = f"orders-{turn}"
            asyncio.run(fill(broker.url, topic, count))
            for name, contender in CONTENDERS.items():
                rate = asyncio.run(measured(contender, broker.url, topic, count))
                best[name] = max(best.get(name, 0.0), rate)
    report = Report("mqtt", "messages/s", best)
    hand, drained, batched, paho, published = CONTENDERS
    report.ratio("acked / by hand", drained, hand)
    report.ratio("acked in batches / by hand", batched, hand)
    report.ratio("publishing: acked / paho", published, paho)
    return report


async def measured(contender: Contender, url: str, topic: str, count: int) -> float:
    """Return what `contender` says."""
    return await contender(url, topic, count)
