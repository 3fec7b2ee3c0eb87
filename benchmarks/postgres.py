"""LISTEN and NOTIFY end to end: acked beside the best hand-written loop on asyncpg, interleaved.

Both publish the same typed bodies by 500 on the same server and are done when the last of them
was received and decoded. The hand-written loop bounds nothing, gives no message an id or a time,
notices no loss, and merges bodies that are equal: that is what the ratio pays for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from acked import Channel, Topic
from acked.layers.postgres_notify import PostgresNotifyLayer
from benchmarks.report import Report
from compose.fleet import create

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

BATCH = 500
MANY = "select pg_notify($1, x) from unnest($2::text[]) x"


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    note: str


Contender = Callable[[str, str, Sequence[Order]], Coroutine[Any, Any, float]]


def orders(count: int) -> Sequence[Order]:
    """Return bodies that all differ: PostgreSQL merges equal ones of one transaction."""
    return [Order(number, f"customer-{number % 97}", 1999, "x" * 100) for number in range(count)]


async def by_hand(url: str, topic: str, bodies: Sequence[Order]) -> float:
    """Decode in the callback; one connection listens and another publishes."""
    decode, encode = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode
    listening: Connection = await asyncpg.connect(url)
    publishing: Connection = await asyncpg.connect(url)
    received: list[Order] = []
    everything = asyncio.Event()

    def arrived(_connection: object, _pid: int, _topic: str, payload: object) -> None:
        received.append(decode(str(payload)))
        if len(received) == len(bodies):
            everything.set()

    await listening.add_listener(topic, arrived)
    start = perf_counter()
    for first in range(0, len(bodies), BATCH):
        batch = [encode(body).decode() for body in bodies[first : first + BATCH]]
        await publishing.execute(MANY, topic, batch)
    await everything.wait()
    seconds = perf_counter() - start
    await publishing.close()
    await listening.close()
    return len(bodies) / seconds


async def publish(
    channel: Channel[PostgresNotifyLayer], topic: Topic[Order], bodies: Sequence[Order]
) -> None:
    """Publish `bodies`, 500 in each transaction."""
    for first in range(0, len(bodies), BATCH):
        await channel.publish_many(topic, bodies[first : first + BATCH])


async def by_acked(url: str, topic: str, bodies: Sequence[Order]) -> float:
    """Publish by 500 and read one by one, from a subscription that has room for all."""
    typed = Topic(topic, Order)
    async with (
        Channel(PostgresNotifyLayer(url)) as channel,
        channel.subscribe(typed, capacity=len(bodies)) as subscription,
    ):
        start = perf_counter()
        publishing = asyncio.create_task(publish(channel, typed, bodies))
        left = len(bodies)
        async for message in subscription:
            assert message.gap is None
            left -= 1
            if not left:
                break
        seconds = perf_counter() - start
        await publishing
    return len(bodies) / seconds


CONTENDERS: dict[str, Contender] = {
    "asyncpg by hand, unnest by 500": by_hand,
    "acked, publish_many by 500": by_acked,
}


def run(*, quick: bool) -> Report:
    """Measure both on a private server, interleaved, and return what it came to."""
    count, rounds = (10_000, 5) if quick else (20_000, 20)
    bodies = orders(count)
    best: dict[str, float] = {}
    with create("postgres") as broker:
        for turn in range(rounds):
            for name, contender in CONTENDERS.items():
                rate = asyncio.run(contender(broker.url, f"orders-{turn}", bodies))
                best[name] = max(best.get(name, 0.0), rate)
    report = Report("postgres", "messages/s", best)
    hand, acked = CONTENDERS
    report.ratio("acked / by hand", acked, hand)
    return report
