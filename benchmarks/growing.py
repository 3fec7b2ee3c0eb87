"""What grows, for `benchmarks.growth`: each function does its work with one size of something."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import anyio

from acked import RAW, AckSubscription, Channel, Overflow, Topic
from acked.abc import AckLayer
from acked.layers.kafka import KafkaLayer
from acked.layers.memory import MemoryLayer
from benchmarks.clock import Clock

BODY: Final = b"x" * 100
KILOBYTE: Final = 1000
BATCH: Final = 500

Measured = Callable[[str, int, Clock], Awaitable[float]]
"""Does the work at a URL with a size, and returns how many units it was."""


def topic_of(name: str) -> Topic[bytes]:
    """Return a topic of bytes as they are: what codecs do is measured elsewhere."""
    return Topic(name, bytes, codec=RAW)


async def fill(
    channel: Channel[AckLayer], topic: Topic[bytes], count: int, body: bytes = BODY
) -> None:
    """Publish `count` messages, in requests of at most 1,000 or a mebibyte."""
    some = max(1, min(1000, (1 << 20) // len(body)))
    for start in range(0, count, some):
        await channel.publish_many(topic, [body] * min(some, count - start))


async def drain(subscription: AckSubscription[bytes], count: int) -> None:
    """Take and ack `count` messages, in batches."""
    left = count
    async for batch in subscription.batches(BATCH):
        await batch.ack()
        left -= len(batch)
        if left <= 0:
            break


async def subscribers(url: str, size: int, clock: Clock) -> float:
    """Publish to `size` subscribers of the memory layer, each a task."""
    del url  # it is in this process
    topic, count = topic_of("news"), max(20, 100_000 // size)
    async with Channel(MemoryLayer()) as channel, AsyncExitStack() as entered:
        members = [
            await entered.enter_async_context(
                channel.subscribe(topic, overflow=Overflow.BLOCK, capacity=100)
            )
            for _ in range(size)
        ]

        async def read(number: int) -> None:
            for _ in range(count):
                await anext(members[number])

        with clock.running():
            async with anyio.create_task_group() as reading:
                for number in range(size):
                    reading.start_soon(read, number)
                for _ in range(count):
                    await channel.publish(topic, BODY)
    return size * count


async def queues(url: str, size: int, clock: Clock) -> float:
    """Do the same by hand: an `asyncio.Queue` for each, which bounds and counts nothing."""
    del url
    count = max(20, 100_000 // size)
    members = [asyncio.Queue[bytes](100) for _ in range(size)]

    async def read(member: asyncio.Queue[bytes]) -> None:
        for _ in range(count):
            await member.get()

    with clock.running():
        async with anyio.create_task_group() as reading:
            for member in members:
                reading.start_soon(read, member)
            for _ in range(count):
                for member in members:
                    await member.put(BODY)
    return size * count


async def deques(url: str, size: int, clock: Clock) -> float:
    """Do the least that can be done: a deque for each, and a future that its reader waits for."""
    del url
    count = max(20, 100_000 // size)
    members = [(deque[bytes](), asyncio.Event()) for _ in range(size)]

    async def read(waiting: deque[bytes], news: asyncio.Event) -> None:
        for _ in range(count):
            while not waiting:
                news.clear()
                await news.wait()
            waiting.popleft()

    with clock.running():
        async with anyio.create_task_group() as reading:
            for member in members:
                reading.start_soon(read, *member)
            for _ in range(count):
                for waiting, news in members:
                    waiting.append(BODY)
                    news.set()
                await asyncio.sleep(0)
    return size * count


async def readers(url: str, size: int, clock: Clock) -> float:
    """Let `size` tasks read one subscription, each awaiting its ack."""
    topic, count = topic_of("jobs"), max(20_000, 2 * size)
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=20_000) as subscription,
    ):
        await fill(channel, topic, count)
        numbers = iter(range(count))

        async def handle() -> None:
            for _ in numbers:
                await (await anext(subscription)).ack()

        with clock.running():
            async with anyio.create_task_group() as tasks:
                for _ in range(size):
                    tasks.start_soon(handle)
    return count


async def concurrent_acks(url: str, size: int, clock: Clock) -> float:
    """Ack `size` messages at the same time, again and again."""
    topic, rounds = topic_of("jobs"), max(1, 10_000 // size)
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=20_000) as subscription,
    ):
        await fill(channel, topic, size * rounds)
        for _ in range(rounds):
            held = [await anext(subscription) for _ in range(size)]
            with clock.running():
                async with anyio.create_task_group() as tasks:
                    for delivery in held:
                        tasks.start_soon(delivery.ack)
    return size * rounds


async def topics(url: str, size: int, clock: Clock) -> float:
    """Drain what is spread over the `size` topics of one subscription."""
    count = max(10_000, size)
    names = [topic_of(f"t{number}") for number in range(size)]
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(*names, group="g") as subscription,
    ):
        for name in names:
            await fill(channel, name, count // size)
        with clock.running():
            await drain(subscription, count // size * size)
    return count // size * size


async def pending(url: str, size: int, clock: Clock) -> float:
    """Drain while another consumer of the group holds `size`."""
    topic, count = topic_of("jobs"), 20_000
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g", in_flight=size, lease=600.0) as holding,
    ):
        await fill(channel, topic, size)
        held = [await anext(holding) for _ in range(size)]
        async with channel.subscribe(topic, group="g") as subscription:
            await fill(channel, topic, count)
            with clock.running():
                await drain(subscription, count)
        for delivery in held:
            await delivery.ack()
    return count


async def bodies(url: str, size: int, clock: Clock) -> float:
    """Drain bodies of `size` bytes; the unit is a kilobyte of them, or a message if it is less."""
    topic, count = topic_of("blobs"), max(4, min(2000, (64 << 20) // size))
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group="g") as subscription,
    ):
        with clock.running():
            await fill(channel, topic, count, b"x" * size)
            await drain(subscription, count)
    return count * max(1.0, size / KILOBYTE)


async def groups(url: str, size: int, clock: Clock) -> float:
    """Let each of `size` groups drain the same messages, one group after the other."""
    topic, count = topic_of("jobs"), max(500, 10_000 // size)
    async with Channel.from_url(url) as channel, AsyncExitStack() as entered:
        members = [
            await entered.enter_async_context(channel.subscribe(topic, group=f"g{number}"))
            for number in range(size)
        ]
        await fill(channel, topic, count)
        with clock.running():
            for member in members:
                await drain(member, count)
    return size * count


async def partitions(url: str, size: int, clock: Clock) -> float:
    """Drain a topic of Kafka's that has `size` partitions."""
    topic, count = topic_of(f"log-{size}"), 20_000
    layer = KafkaLayer(url.removeprefix("kafka://"), create_topics=size)
    async with Channel(layer) as channel:
        await fill(channel, topic, count)
        async with channel.subscribe(topic, group="g", in_flight=4 * BATCH) as subscription:
            await (await anext(subscription)).ack()
            with clock.running():
                await drain(subscription, count - 1)
    return count - 1
