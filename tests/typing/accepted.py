"""What type checkers must accept, and the types they must see. Checked, never run."""

from collections.abc import Sequence
from typing import assert_type

import msgspec

from acked import (
    JSON,
    RAW,
    AckSubscription,
    App,
    Backoff,
    Batch,
    Channel,
    Delivery,
    FireAndForgetSubscription,
    Message,
    Overflow,
    Publish,
    Receipt,
    Redelivery,
    Reject,
    Release,
    Retry,
    Router,
    Start,
    Topic,
    VirtualClock,
)
from acked.abc import AckLayer, Clock, FireAndForgetLayer, Layer, LayerFactory
from acked.errors import DecodeError, Owed
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.postgres_notify import PostgresNotifyLayer
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.types import Codec


class Order(msgspec.Struct):
    id: int
    cents: int


ORDERS = Topic("orders", Order)
PRICES = Topic("prices", float)
FRAMES = Topic("frames", bytes, codec=RAW)

assert_type(ORDERS, Topic[Order])


class Opened(msgspec.Struct, tag=True):
    id: int


class Closed(msgspec.Struct, tag=True):
    id: int


EVENTS: Topic[Opened | Closed] = Topic("events", Opened | Closed)


async def a_union_is_a_payload(debts: Channel[AckLayer], news: Channel[FireAndForgetLayer]) -> None:
    await debts.publish(EVENTS, Closed(1))
    await debts.publish(Topic("events", Opened | Closed), Opened(1))
    assert_type(debts.subscribe(EVENTS, group="g"), AckSubscription[Opened | Closed])
    assert_type(news.subscribe(EVENTS), FireAndForgetSubscription[Opened | Closed])


async def two_topics_of_two_types(
    debts: Channel[AckLayer], news: Channel[FireAndForgetLayer]
) -> None:
    both = debts.subscribe(ORDERS, PRICES, group="g", lease=5.0)
    assert_type(both, AckSubscription[Order | float])
    async with both as entered:
        async for delivery in entered:
            if isinstance(delivery.body, Order):
                assert_type(delivery.body.cents, int)
    assert_type(news.subscribe(ORDERS, PRICES), FireAndForgetSubscription[Order | float])
    assert_type(news.subscribe(PRICES, PRICES), FireAndForgetSubscription[float])


async def debts(channel: Channel[AckLayer]) -> None:
    assert_type(await channel.publish(ORDERS, Order(1, 999)), Receipt)
    assert_type(await channel.publish("anything", {"as": ["JSON"]}), Receipt)
    assert_type(await channel.publish_many(PRICES, [1.0, 2.0]), Sequence[Receipt])
    own = [Publish(PRICES, 1.0, key="k"), Publish(PRICES, 2.0, id="mine")]
    assert_type(await channel.publish_many(own), Sequence[Receipt])
    subscription = channel.subscribe(ORDERS, group="billing")
    assert_type(subscription, AckSubscription[Order])
    assert_type(channel.subscribe("a", "b", group="all"), AckSubscription[object])
    async with subscription as entered:
        async for delivery in entered:
            assert_type(delivery, Delivery[Order])
            assert_type(delivery.body.cents, int)
            assert_type(delivery.key, str | None)
            await delivery.ack()
            await delivery.nack(delay=1.5)
            await delivery.reject("too late")
            await delivery.extend(60.0)
        async for delivery in entered:
            async with delivery as held:
                assert_type(held, Delivery[Order])
        async for batch in entered.batches(100, wait=0.05):
            assert_type(batch, Batch[Order])
            assert_type([one.body for one in batch], list[Order])
            await batch.ack()


async def news(channel: Channel[FireAndForgetLayer]) -> None:
    assert_type(await channel.publish(PRICES, 9.99), None)
    subscription = channel.subscribe(PRICES, capacity=256, overflow=Overflow.DROP_OLDEST)
    assert_type(subscription, FireAndForgetSubscription[float])
    async with subscription as entered:
        async for message in entered:
            assert_type(message, Message[float])
            assert_type(message.body, float)
        async for several in entered.batches(10):
            assert_type(several, Sequence[Message[float]])


def every_option(channel: Channel[AckLayer]) -> None:
    channel.subscribe(
        FRAMES,
        group="g",
        in_flight=16,
        in_flight_bytes=1024,
        lease=5.0,
        max_lease=None,
        start=Start.at(0.0),
        redelivery=Redelivery(max_deliveries=3, dead_letter="frames.dead"),
        confirm_acks=False,
        reconnect_timeout=None,
        close_timeout=1.0,
    )


def the_layer_decides_the_kind() -> None:
    over_memory = Channel(MemoryLayer())
    assert_type(over_memory, Channel[MemoryLayer])
    assert_type(over_memory.subscribe(PRICES), FireAndForgetSubscription[float])
    over_queue = Channel(MemoryQueueLayer())
    assert_type(over_queue.subscribe(PRICES, group="g"), AckSubscription[float])
    assert_type(over_queue.layer, MemoryQueueLayer)
    over_sqlite = Channel(SQLiteQueueLayer("queue.db"))
    assert_type(over_sqlite.subscribe(PRICES, group="g"), AckSubscription[float])
    over_redis = Channel(RedisStreamsLayer("redis://localhost"))
    assert_type(over_redis.subscribe(PRICES, group="g"), AckSubscription[float])


def the_url_says_the_kind() -> None:
    assert_type(Channel.from_url("sqlite-queue:///queue.db"), Channel[AckLayer])
    assert_type(Channel.from_url("memory:", fire_and_forget=True), Channel[FireAndForgetLayer])


def wider(narrow: Channel[MemoryQueueLayer]) -> Channel[AckLayer]:
    return narrow


def every_layer_meets_its_contract() -> None:
    acks: list[AckLayer] = [
        MemoryQueueLayer(),
        SQLiteQueueLayer("queue.db"),
        RedisStreamsLayer("redis://localhost"),
    ]
    forgets: list[FireAndForgetLayer] = [
        MemoryLayer(),
        RedisPubSubLayer("redis://localhost"),
        PostgresNotifyLayer("postgresql://localhost"),
    ]
    every: list[Layer] = [*acks, *forgets]
    factories: list[LayerFactory] = [
        MemoryLayer,
        RedisPubSubLayer,
        PostgresNotifyLayer,
        MemoryQueueLayer,
        SQLiteQueueLayer,
        RedisStreamsLayer,
    ]
    clock: Clock = VirtualClock()
    codec: Codec = JSON
    del every, factories, clock, codec


async def an_error_carries_what_is_owed(error: DecodeError, delivery: Delivery[Order]) -> None:
    if error.delivery is not None:
        await error.delivery.reject(str(error))
    owed: Owed = delivery
    await owed.ack()


async def on_body(order: Order) -> None:
    del order


async def on_delivery(delivery: Delivery[Order]) -> Publish[float] | None:
    return Publish(PRICES, 1.0) if delivery.body.id else None


def plainly(order: Order) -> list[Publish[float]]:
    return [Publish(PRICES, float(order.id)), Publish("audit", 1.0, key="k")]


async def on_bodies(orders: list[Order]) -> None:
    del orders


async def on_deliveries(batch: list[Delivery[Order]]) -> list[Retry | Reject | Release | None]:
    return [Retry(after=1.0), Reject("no"), Release(), None]


async def handlers_of_every_kind(
    channel: Channel[AckLayer], narrow: Channel[SQLiteQueueLayer]
) -> None:
    await channel.process(ORDERS, on_body, group="g", concurrency=2, ordered_by="key", drain=1.0)
    await channel.process(ORDERS, on_delivery, group="g", timeout=1.0, lease=2.0)
    await channel.process(ORDERS, plainly, group="g", retry={ValueError: Backoff()})
    await channel.process(ORDERS, on_bodies, group="g", batch=10, wait=0.5)
    await channel.process(ORDERS, on_deliveries, group="g", batch=10)
    await narrow.process(ORDERS, on_body, group="g", ordered_by=lambda delivery: delivery.key)


APP = App("sqlite-queue:///queue.db")


@APP.consumer(ORDERS, group="g", ordered_by="key")
async def consume(order: Order) -> None:
    del order


@APP.consumer(ORDERS, group="g", batch=10)
def consume_several(orders: list[Order]) -> None:
    del orders


async def a_consumer_stays_the_function_it_is() -> None:
    await consume(Order(1, 2))
    consume_several([Order(1, 2)])
    APP.include(Router())
