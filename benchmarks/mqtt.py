"""MQTT at QoS 1: acked beside the best hand-written loops on paho-mqtt, interleaved.

Draining: each contender has a session with the same receive maximum, which was sent the same
messages while nobody was connected. The hand-written loop decodes the typed body in paho's
callback and acks there: no order of PUBACKs to keep, no connection to tell from the one before,
no records, nothing to nack. That is what the ratio pays for.

Publishing: 64 tasks that each await the PUBACK of one message at a time, beside paho with 64
messages on their way, where each PUBACK sends the next.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import anyio
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from acked import JSON, AckSubscription, Channel, Topic
from acked.layers.mqtt import MQTTLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer
from benchmarks.peers.on_aiomqtt import SESSION

WINDOW: Final = 1000
MANY: Final = 64
HAND: Final = "hand"
OLD: Final = "hand-old"
ACKED: Final = "acked"
BATCHES: Final = "batches"


def old_client_at(url: str, client_id: str) -> Client:
    """Return one of MQTT 3.1.1: it has no properties to read, and no window but the broker's."""
    old = MQTTProtocolVersion.MQTTv311
    version = CallbackAPIVersion.VERSION2
    client = Client(version, client_id, clean_session=False, protocol=old, manual_ack=True)
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    return client


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


def subscribe_by_hand(client: Client, topic: str) -> None:
    """Let a hand-written loop's session exist."""
    is_subscribed = False

    def on_subscribe(*_: object) -> None:
        nonlocal is_subscribed
        is_subscribed = True

    client.on_subscribe = on_subscribe
    while not client.is_connected():
        client.loop()
    if client.protocol == MQTTProtocolVersion.MQTTv5:
        client.subscribe(topic, options=SubscribeOptions(qos=1))
    else:
        client.subscribe(topic, qos=1)
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


async def fill(work: Work) -> None:
    """Let every session exist, then publish orders, which each is owed."""
    subscribe_by_hand(client_at(work.url, HAND), work.topic)
    for session in (OLD, SESSION):
        subscribe_by_hand(old_client_at(work.url, session), work.topic)
    for group in (ACKED, BATCHES):
        async with subscribed(work.url, work.topic, group):
            pass
    topic, bodies = Topic(work.topic, Order), orders(work.count)
    async with Channel(MQTTLayer(work.url)) as channel:
        for start in range(0, work.count, 1000):
            await channel.publish_many(topic, bodies[start : start + 1000])


async def by_hand(work: Work) -> None:
    """Decode and ack in the callback, with MQTT 5."""
    drained(client_at(work.url, HAND), work)


async def by_hand_with_mqtt_3(work: Work) -> None:
    """Decode and ack in the callback, with MQTT 3.1.1."""
    drained(old_client_at(work.url, OLD), work)


def drained(client: Client, work: Work) -> None:
    """Take all that the session of `client` is owed."""
    decode = JSON.decoder(Order)
    left = work.count

    def on_message(client: Client, _data: object, message: MQTTMessage) -> None:
        nonlocal left
        decode(bytes(message.payload))
        client.ack(message.mid, message.qos)
        left -= 1

    client.on_message = on_message
    with work.clock.running():
        while left:
            client.loop()
    client.disconnect()


async def drain(work: Work) -> None:
    """Read one by one with `confirm_acks=False`."""
    with work.clock.running():
        async with subscribed(work.url, work.topic, ACKED) as subscription:
            for _ in range(work.count):
                await (await anext(subscription)).ack()


async def drain_batches(work: Work) -> None:
    """Read batches and await one ack for each."""
    left = work.count
    with work.clock.running():
        async with subscribed(work.url, work.topic, BATCHES) as subscription:
            async for batch in subscription.batches(500):
                await batch.ack()
                left -= len(batch)
                if not left:
                    break


async def publish_by_hand(work: Work) -> None:
    """Keep 64 messages on their way: each PUBACK sends the next."""
    encode = JSON.encoder(Order)
    client = client_at(work.url, "publisher")
    topic = f"{work.topic}-published"
    bodies = iter(orders(work.count))
    left = work.count

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
    with work.clock.running():
        for _ in range(MANY):
            send()
        while left:
            client.loop()
    client.disconnect()


async def publish(work: Work) -> None:
    """Let 64 tasks publish, each awaiting its PUBACK."""
    topic, bodies = Topic(f"{work.topic}-published", Order), iter(orders(work.count))

    async with Channel(MQTTLayer(work.url, mandatory=False)) as channel:

        async def send() -> None:
            for body in bodies:
                await channel.publish(topic, body)

        with work.clock.running():
            async with anyio.create_task_group() as group:
                for _ in range(MANY):
                    group.start_soon(send)


BY_HAND, BY_HAND_3 = "paho by hand, MQTT 5", "paho by hand, MQTT 3.1.1"
PIPELINED, BY_BATCHES = "acked, async for, confirm_acks=False", "acked, batches(500)"
AIOMQTT = "aiomqtt"
PAHO, PUBLISH = f"paho publishing, {MANY} on their way", f"acked publishing, {MANY} tasks"

CONTESTS = (
    Contest(
        "mqtt",
        {
            BY_HAND: by_hand,
            BY_HAND_3: by_hand_with_mqtt_3,
            PIPELINED: drain,
            BY_BATCHES: drain_batches,
            AIOMQTT: Peer("aiomqtt", "drain"),
            PAHO: publish_by_hand,
            PUBLISH: publish,
        },
        {
            "one by one / paho, MQTT 3.1.1": (PIPELINED, BY_HAND_3),
            "batches / paho, MQTT 3.1.1": (BY_BATCHES, BY_HAND_3),
            "one by one / paho, MQTT 5": (PIPELINED, BY_HAND),
            "one by one / aiomqtt": (PIPELINED, AIOMQTT),
            "publishing / paho": (PUBLISH, PAHO),
        },
        count=(5_000, 20_000),
        broker="mqtt",
        fill=fill,
    ),
)
