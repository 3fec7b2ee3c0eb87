"""Redis Streams: draining, acked beside the best hand-written loops known.

All drain the same entries with the same typed bodies from the same server. Two loops are written by
hand: on redis-py, and on the bare protocol with hiredis' parser and one blocking socket, which is
the practical limit. Both read 500, decode them, and ack the batch in one XACK that travels with the
next read. They fence nothing, recover nothing and renew nothing: that is what the ratios pay for.

Peers drain what they published themselves, each in its own form. They have one handler, or 64 side
by side, and ack each message by itself.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import hiredis
from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_streams import RedisStreamsLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer

BATCH = 500
MANY = 64


async def fill(work: Work) -> None:
    """Publish orders."""
    bodies = orders(work.count)
    async with Channel(RedisStreamsLayer(work.url)) as channel:
        for start in range(0, work.count, 1000):
            await channel.publish_many(Topic(work.topic, Order), bodies[start : start + 1000])


async def on_redis_py(work: Work) -> None:
    """Read 500, decode, and send the acks with the next read."""
    decode = JSON.decoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    client = redis.from_url(work.url, socket_timeout=None, protocol=2)
    async with client:
        await client.xgroup_create(work.topic, "redis-py", id="0")
        with work.clock.running():
            done: list[bytes] = []
            seen = 0
            while seen < work.count or done:
                pipeline = client.pipeline(transaction=False)
                if done:
                    pipeline.xack(work.topic, "redis-py", *done)
                pipeline.xreadgroup("redis-py", "consumer", {work.topic: ">"}, count=BATCH)
                entries: Any = (await pipeline.execute())[-1]
                rows: Sequence[tuple[bytes, dict[bytes, bytes]]] = entries[0][1] if entries else ()
                for _, fields in rows:
                    decode(fields[b"body"])
                done = [entry_id for entry_id, _ in rows]
                seen += len(rows)


def replies(connection: socket.socket) -> Iterator[Any]:
    """Yield what a server says."""
    reader = hiredis.Reader()
    while True:
        reply: Any = reader.gets()
        if reply is False:
            reader.feed(connection.recv(1 << 20))
        else:
            yield reply


async def on_the_bare_protocol(work: Work) -> None:
    """Do the same with hiredis' parser and packer on a blocking socket, and no loop at all."""
    decode = JSON.decoder(Order)
    pack: Callable[[tuple[bytes, ...]], bytes] = cast(
        "Any", hiredis
    ).pack_command  # typed as of one
    address = urlsplit(work.url)
    with socket.create_connection((address.hostname or "", address.port or 6379)) as connection:
        told = replies(connection)
        topic = work.topic.encode()
        connection.sendall(pack((b"XGROUP", b"CREATE", topic, b"bare", b"0")))
        next(told)
        more = (b"XREADGROUP", b"GROUP", b"bare", b"c", b"COUNT", b"500", b"STREAMS", topic, b">")
        read = pack(more)
        with work.clock.running():
            left, ack = work.count, b""
            while left or ack:
                connection.sendall(ack + read)
                if ack:
                    next(told)
                reply: Any = next(told)
                rows = reply[0][1] if reply else ()
                for _, fields in rows:
                    decode(fields[1])
                ids = [row[0] for row in rows]
                ack = pack((b"XACK", topic, b"bare", *ids)) if ids else b""
                left -= len(ids)


async def drain(work: Work) -> None:
    """Read one by one with `confirm_acks=False`; leaving flushes."""
    async with Channel(RedisStreamsLayer(work.url)) as channel:
        subscription = channel.subscribe(
            Topic(work.topic, Order), group="acked", in_flight=2 * BATCH, confirm_acks=False
        )
        with work.clock.running():
            async with subscription:
                for _ in range(work.count):
                    await (await anext(subscription)).ack()


async def drain_batches(work: Work) -> None:
    """Read batches of 500 and await one confirmed ack for each."""
    async with (
        Channel(RedisStreamsLayer(work.url)) as channel,
        channel.subscribe(
            Topic(work.topic, Order), group="batches", in_flight=2 * BATCH
        ) as subscription,
    ):
        with work.clock.running():
            left = work.count
            async for batch in subscription.batches(BATCH):
                await batch.ack()
                left -= len(batch)
                if not left:
                    break


async def one_by_one_on_redis_py(work: Work) -> None:
    """Read 500 at a time; decode each and await its XACK before the next."""
    decode = JSON.decoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    async with redis.from_url(work.url, socket_timeout=None, protocol=2) as client:
        await client.xgroup_create(work.topic, "one-redis-py", id="0")
        with work.clock.running():
            left = work.count
            while left:
                entries = await client.xreadgroup(
                    "one-redis-py", "c", {work.topic: ">"}, count=min(BATCH, left)
                )
                for entry_id, fields in entries[0][1]:
                    decode(fields[b"body"])
                    await client.xack(work.topic, "one-redis-py", entry_id)
                    left -= 1
                    work.clock.lap()


async def one_by_one(work: Work) -> None:
    """Await each ack before the next."""
    await in_tasks(work, 1)


async def in_many_tasks(work: Work) -> None:
    """Let 64 tasks each await its ack."""
    await in_tasks(work, MANY)


async def in_tasks(work: Work, tasks: int) -> None:
    """Let `tasks` tasks each read one and await its ack."""
    async with (
        Channel(RedisStreamsLayer(work.url)) as channel,
        channel.subscribe(
            Topic(work.topic, Order), group=f"tasks-{tasks}", in_flight=2 * BATCH
        ) as subscription,
    ):
        numbers = iter(range(work.count))

        async def handle() -> None:
            for _ in numbers:
                await (await anext(subscription)).ack()
                if tasks == 1:
                    work.clock.lap()

        with work.clock.running():
            async with anyio.create_task_group() as group:
                for _ in range(tasks):
                    group.start_soon(handle)


BARE, HAND = "hiredis by hand, COUNT 500", "redis-py by hand, COUNT 500"
PIPELINED, BATCHES = "acked, async for, confirm_acks=False", "acked, batches(500), confirmed"
HAND_ONE, ONE, TASKS = "redis-py, each XACK awaited", "acked, each ack awaited", "acked, 64 tasks"
NAMES = {"FastStream": "faststream", "taskiq-redis": "taskiq_redis", "arq": "arq"}
PEERS = tuple(f"{name}, one handler" for name in NAMES)
PEERS_64 = tuple(f"{name}, 64 handlers" for name in NAMES)


def _handlers(names: Sequence[str], way: str) -> dict[str, Peer]:
    return {
        name: Peer(peer, way, fill="fill") for name, peer in zip(names, NAMES.values(), strict=True)
    }


CONTESTS = (
    Contest(
        "redis_streams",
        {
            BARE: on_the_bare_protocol,
            HAND: on_redis_py,
            PIPELINED: drain,
            BATCHES: drain_batches,
            HAND_ONE: one_by_one_on_redis_py,
            ONE: one_by_one,
            TASKS: in_many_tasks,
            **_handlers(PEERS, "redis-1"),
            **_handlers(PEERS_64, "redis-64"),
        },
        {
            "one by one / redis-py": (PIPELINED, HAND),
            "batches / redis-py": (BATCHES, HAND),
            "batches / hiredis": (BATCHES, BARE),
            "each ack awaited / redis-py": (ONE, HAND_ONE),
            "64 tasks / redis-py by 500": (TASKS, HAND),
            **{f"each ack awaited / {peer}": (ONE, peer) for peer in PEERS},
            **{f"64 tasks / {peer}": (TASKS, peer) for peer in PEERS_64},
        },
        count=(20_000, 50_000),
        broker="redis",
        fill=fill,
        fewer={HAND_ONE: 10, ONE: 10} | dict.fromkeys((*PEERS, *PEERS_64), 20),
    ),
)
