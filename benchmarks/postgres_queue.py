"""A queue in PostgreSQL end to end: acked beside a hand-written SKIP LOCKED loop, interleaved.

Both publish the same typed bodies to the same server and then drain them, each message acked by a
committed deletion: by 100, and one by one. The hand-written loop has one table with a deadline, no
groups, no fence of a lease, no renewal, no dead letters and no wake-up: that is what the ratio pays
for. Its claims commit as acked's do, without waiting for the disk. Beside them is what a user would
pick instead, where it is installed (`benchmarks.peers`).

`postgres_queue.lone` is the other end: one message at a time, published when the one before was
handled, to a consumer that waits. Its rate is one over the time from a publish to the handler.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from acked import Channel, Topic
from acked.layers.postgres_queue import PostgresQueueLayer
from benchmarks.contest import Contender, Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

MANY = 100

TABLE = """
create table if not exists jobs (
    id bigserial primary key, topic text not null, body bytea not null,
    attempt int not null default 0, until timestamptz not null default '-infinity'
)"""
PUBLISH = "insert into jobs (topic, body) select $1, b from unnest($2::bytea[]) b"
CLAIM = """
update jobs set until = now() + interval '30 s', attempt = attempt + 1 where id in (
    select id from jobs where topic = $1 and until <= now() order by id limit $2
    for update skip locked
) returning id, body"""
ACK = "delete from jobs where id = any ($1)"


def by_hand(size: int) -> Contender:
    """Return the contender that publishes and then drains `size` at a time."""

    async def contender(work: Work) -> None:
        decode, encode = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode
        connection: Connection = await asyncpg.connect(work.url)
        claiming: Connection = await asyncpg.connect(work.url)
        await connection.execute(TABLE)
        await claiming.execute("set synchronous_commit = off")
        bodies, topic = orders(work.count), f"{work.topic}-{size}"
        with work.clock.running():
            for first in range(0, len(bodies), size):
                packed = [encode(body) for body in bodies[first : first + size]]
                await connection.execute(PUBLISH, topic, packed)
            left = len(bodies)
            while left:
                rows = await claiming.fetch(CLAIM, topic, size)
                for row in rows:
                    decode(row["body"])
                await connection.execute(ACK, [row["id"] for row in rows])
                left -= len(rows)
        await connection.close()
        await claiming.close()

    return contender


async def one_by_one(work: Work) -> None:
    """Do the same one by one, through a channel and a subscription."""
    topic, bodies = Topic(f"{work.topic}-one", Order), orders(work.count)
    async with (
        Channel(PostgresQueueLayer(work.url)) as channel,
        channel.subscribe(topic, group="g", in_flight=2) as subscription,
    ):
        with work.clock.running():
            for body in bodies:
                await channel.publish(topic, body)
            for _ in bodies:
                await (await anext(subscription)).ack()


async def by_hundreds(work: Work) -> None:
    """And by 100."""
    topic, bodies = Topic(f"{work.topic}-many", Order), orders(work.count)
    async with (
        Channel(PostgresQueueLayer(work.url)) as channel,
        channel.subscribe(topic, group="g", in_flight=2 * MANY) as subscription,
    ):
        with work.clock.running():
            for first in range(0, len(bodies), MANY):
                await channel.publish_many(topic, bodies[first : first + MANY])
            left = len(bodies)
            async for batch in subscription.batches(MANY):
                left -= len(batch)
                await batch.ack()
                if not left:
                    break


async def lone_by_hand(work: Work) -> None:
    """Hand over one message after the other, woken by a notification."""
    decode, encode = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode
    publishing: Connection = await asyncpg.connect(work.url)
    claiming: Connection = await asyncpg.connect(work.url)
    await publishing.execute(TABLE)
    await claiming.execute("set synchronous_commit = off")
    news, handled = asyncio.Event(), asyncio.Event()

    def told(*_: object) -> None:
        news.set()

    await claiming.add_listener("jobs", told)

    async def consume() -> None:
        while True:
            await news.wait()
            news.clear()
            for row in await claiming.fetch(CLAIM, work.topic, 1):
                decode(row["body"])
                handled.set()
                await claiming.execute(ACK, [row["id"]])

    consuming = asyncio.create_task(consume())
    with work.clock.running():
        for body in orders(work.count):
            handled.clear()
            await publishing.execute(PUBLISH, work.topic, [encode(body)])
            await publishing.execute("notify jobs")
            await handled.wait()
            work.clock.lap()
    consuming.cancel()
    await asyncio.wait([consuming])
    await publishing.close()
    await claiming.close()


async def lone(work: Work) -> None:
    """Do the same through a channel and a subscription."""
    topic, handled = Topic(work.topic, Order), asyncio.Event()
    async with (
        Channel(PostgresQueueLayer(work.url)) as channel,
        channel.subscribe(topic, group="g") as subscription,
    ):

        async def consume() -> None:
            async for delivery in subscription:
                handled.set()
                await delivery.ack()

        consuming = asyncio.create_task(consume())
        with work.clock.running():
            for body in orders(work.count):
                handled.clear()
                await channel.publish(topic, body)
                await handled.wait()
                work.clock.lap()
        consuming.cancel()
        await asyncio.wait([consuming])


HAND, ACKED = "SKIP LOCKED by hand, by 100", "acked, by 100"
HAND_ONE, ONE = "SKIP LOCKED by hand, one by one", "acked, one by one"
HAND_LONE, LONE = "SKIP LOCKED by hand, one at a time", "acked, one at a time"
PEERS = ("procrastinate", "pgqueuer", "pgmq")
PEERS_MANY = tuple(f"{peer}, by 100" for peer in PEERS)
PEERS_ONE = tuple(f"{peer}, one by one" for peer in PEERS)
PEERS_LONE = tuple(f"{peer}, one at a time" for peer in PEERS)


def _peers(names: Sequence[str], way: str) -> dict[str, Peer]:
    return {name: Peer(peer, way) for name, peer in zip(names, PEERS, strict=True)}


CONTESTS = (
    Contest(
        "postgres_queue",
        {
            HAND: by_hand(MANY),
            ACKED: by_hundreds,
            **_peers(PEERS_MANY, "many"),
            HAND_ONE: by_hand(1),
            ONE: one_by_one,
            **_peers(PEERS_ONE, "one"),
        },
        {
            "by 100 / by hand": (ACKED, HAND),
            "one by one / by hand": (ONE, HAND_ONE),
            **{f"by 100 / {peer}": (ACKED, peer) for peer in PEERS_MANY},
            **{f"one by one / {peer}": (ONE, peer) for peer in PEERS_ONE},
        },
        count=(10_000, 30_000),
        broker="postgres",
        fewer=dict.fromkeys((HAND_ONE, ONE, *PEERS_MANY, *PEERS_ONE), 15),
    ),
    Contest(
        "postgres_queue.lone",
        {
            HAND_LONE: lone_by_hand,
            LONE: lone,
            **_peers(PEERS_LONE, "lone"),
        },
        {
            "one at a time / by hand": (LONE, HAND_LONE),
            **{f"one at a time / {peer}": (LONE, peer) for peer in PEERS_LONE},
        },
        count=(300, 2_000),
        broker="postgres",
        fewer=dict.fromkeys(PEERS_LONE, 3),
    ),
)
