"""A queue in PostgreSQL end to end: acked beside a hand-written SKIP LOCKED loop, interleaved.

Both publish the same typed bodies to the same server and then drain them, each message acked by a
committed deletion: by 100, and one by one. The hand-written loop has one table with a deadline, no
groups, no fence of a lease, no renewal, no dead letters and no wake-up: that is what the ratio pays
for. Its claims commit as acked's do, without waiting for the disk.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from acked import Channel, Topic
from acked.layers.postgres_queue import PostgresQueueLayer
from benchmarks.report import Report
from compose.fleet import create

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

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


class Parcel(msgspec.Struct):
    id: int
    customer: str
    note: str


Contender = Callable[[str, str, Sequence[Parcel], int], Coroutine[Any, Any, float]]


async def by_hand(url: str, topic: str, bodies: Sequence[Parcel], size: int) -> float:
    """One connection publishes, then another drains."""
    decode, encode = msgspec.json.Decoder(Parcel).decode, msgspec.json.Encoder().encode
    connection: Connection = await asyncpg.connect(url)
    claiming: Connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await claiming.execute("set synchronous_commit = off")
    start = perf_counter()
    for first in range(0, len(bodies), size):
        await connection.execute(
            PUBLISH, topic, [encode(body) for body in bodies[first : first + size]]
        )
    left = len(bodies)
    while left:
        rows = await claiming.fetch(CLAIM, topic, size)
        for row in rows:
            decode(row["body"])
        await connection.execute(ACK, [row["id"] for row in rows])
        left -= len(rows)
    seconds = perf_counter() - start
    await connection.close()
    await claiming.close()
    return len(bodies) / seconds


async def by_acked(url: str, topic: str, bodies: Sequence[Parcel], size: int) -> float:
    """Do the same through a channel and a subscription."""
    typed = Topic(topic, Parcel)
    async with (
        Channel(PostgresQueueLayer(url)) as channel,
        channel.subscribe(typed, group="g", in_flight=2 * size) as subscription,
    ):
        start = perf_counter()
        if size == 1:
            for body in bodies:
                await channel.publish(typed, body)
            for _ in bodies:
                await (await anext(subscription)).ack()
        else:
            for first in range(0, len(bodies), size):
                await channel.publish_many(typed, bodies[first : first + size])
            left = len(bodies)
            async for batch in subscription.batches(size):
                left -= len(batch)
                await batch.ack()
                if not left:
                    break
        return len(bodies) / (perf_counter() - start)


WAYS: dict[str, Contender] = {"by hand": by_hand, "acked": by_acked}


def run(*, quick: bool) -> Report:
    """Measure both on a private server, interleaved, and return what it came to."""
    counts, rounds = ({100: 10_000, 1: 500}, 3) if quick else ({100: 30_000, 1: 2000}, 8)
    best: dict[str, float] = {}
    with create("postgres") as broker:
        for turn in range(rounds):
            for size, count in counts.items():
                bodies = [Parcel(n, f"customer-{n % 97}", "x" * 100) for n in range(count)]
                for name, contender in WAYS.items():
                    rate = asyncio.run(contender(broker.url, f"{turn}-{size}", bodies, size))
                    label = f"{name}, {_words(size)}"
                    best[label] = max(best.get(label, 0.0), rate)
    report = Report("postgres_queue", "messages/s, published and acked", best)
    for size in counts:
        labels = [f"{name}, {_words(size)}" for name in ("acked", "by hand")]
        report.ratio(f"acked / by hand, {_words(size)}", *labels)
    return report


def _words(size: int) -> str:
    return "one by one" if size == 1 else f"by {size}"
