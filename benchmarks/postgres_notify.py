"""LISTEN and NOTIFY end to end: acked beside the best hand-written loop on asyncpg, interleaved.

Both publish the same typed bodies by 500 on the same server and are done when the last of them
was received and decoded. The hand-written loop bounds nothing, gives no message an id or a time,
notices no loss, and merges bodies that are equal: that is what the ratio pays for.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from acked import Channel, Topic
from acked.layers.postgres_notify import PostgresNotifyLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

BATCH = 500
MANY = "select pg_notify($1, x) from unnest($2::text[]) x"


async def by_hand(work: Work) -> None:
    """Decode in the callback; one connection listens and another publishes."""
    decode, encode = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode
    listening: Connection = await asyncpg.connect(work.url)
    publishing: Connection = await asyncpg.connect(work.url)
    bodies = orders(work.count)
    received: list[Order] = []
    everything = asyncio.Event()

    def arrived(_connection: object, _pid: int, _topic: str, payload: object) -> None:
        received.append(decode(str(payload)))
        if len(received) == len(bodies):
            everything.set()

    await listening.add_listener(work.topic, arrived)
    with work.clock.running():
        for first in range(0, len(bodies), BATCH):
            batch = [encode(body).decode() for body in bodies[first : first + BATCH]]
            await publishing.execute(MANY, work.topic, batch)
        await everything.wait()
    await publishing.close()
    await listening.close()


async def publish(
    channel: Channel[PostgresNotifyLayer], topic: Topic[Order], bodies: Sequence[Order]
) -> None:
    """Publish `bodies`, 500 in each transaction."""
    for first in range(0, len(bodies), BATCH):
        await channel.publish_many(topic, bodies[first : first + BATCH])


async def by_acked(work: Work) -> None:
    """Publish by 500 and read one by one, from a subscription that has room for all."""
    topic, bodies = Topic(work.topic, Order), orders(work.count)
    async with (
        Channel(PostgresNotifyLayer(work.url)) as channel,
        channel.subscribe(topic, capacity=work.count) as subscription,
    ):
        with work.clock.running():
            publishing = asyncio.create_task(publish(channel, topic, bodies))
            for _ in bodies:
                message = await anext(subscription)
                assert message.gap is None
        await publishing


HAND, ACKED = "asyncpg by hand, unnest by 500", "acked, publish_many by 500"

CONTESTS = (
    Contest(
        "postgres_notify",
        {HAND: by_hand, ACKED: by_acked},
        {"acked / by hand": (ACKED, HAND)},
        count=(10_000, 20_000),
        rounds=(3, 15),
        broker="postgres",
    ),
)
