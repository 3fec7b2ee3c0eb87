"""The engine alone, over a layer that costs nothing, beside the queues it is measured against."""

import asyncio

import anyio
import msgspec

from acked import JSON, RAW, Channel, Topic
from acked.types import Leased, Record
from benchmarks.contest import Contender, Contest, Work
from benchmarks.recording import RecordingLayer

BODY = b"x" * 100
WINDOW = 1024


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    paid: bool


RAW_TOPIC = Topic("orders", bytes, codec=RAW)
TYPED_TOPIC = Topic("orders", Order)
TYPED_BODY = JSON.encoder(Order)(Order(17, "customer-17", 1999, paid=True))


def recorded(count: int, body: bytes) -> list[Leased]:
    """Return `count` leased messages with that body."""
    return [Leased(Record("orders", body, str(number)), number) for number in range(count)]


def iterate(topic: Topic[bytes] | Topic[Order], body: bytes) -> Contender:
    """Return who reads by `async for` and holds what it reads, unsettled."""

    async def contender(work: Work) -> None:
        layer = RecordingLayer(recorded(work.count, body))
        held: list[object] = []
        async with (
            Channel(layer) as channel,
            channel.subscribe(topic, group="g", in_flight=work.count) as subscription,
        ):
            with work.clock.running():
                async for delivery in subscription:
                    held.append(delivery)
                    if len(held) == work.count:
                        break

    return contender


def pipelined(topic: Topic[bytes] | Topic[Order], body: bytes) -> Contender:
    """Return who reads and acks with `confirm_acks=False`, until all are confirmed."""

    async def contender(work: Work) -> None:
        layer = RecordingLayer(recorded(work.count, body))
        async with Channel(layer) as channel:
            with work.clock.running():
                async with channel.subscribe(
                    topic, group="g", in_flight=WINDOW, confirm_acks=False
                ) as subscription:
                    for _ in range(work.count):
                        await (await anext(subscription)).ack()
        if layer.settled != work.count:
            raise AssertionError(f"{layer.settled} of {work.count} were acked")

    return contender


async def confirmed(work: Work) -> None:
    """Read in 64 tasks that each await their ack."""
    numbers = iter(range(work.count))

    async def handle() -> None:
        for _ in numbers:
            await (await anext(subscription)).ack()

    async with (
        Channel(RecordingLayer(recorded(work.count, BODY))) as channel,
        channel.subscribe(RAW_TOPIC, group="g", in_flight=WINDOW) as subscription,
    ):
        with work.clock.running():
            async with anyio.create_task_group() as tasks:
                for _ in range(64):
                    tasks.start_soon(handle)


async def asyncio_queue(work: Work) -> None:
    """Pass items through an `asyncio.Queue` as large as the window."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(WINDOW)

    async def produce() -> None:
        for _ in range(work.count):
            await queue.put(BODY)

    with work.clock.running():
        producer = asyncio.create_task(produce())
        for _ in range(work.count):
            await queue.get()
        await producer


async def anyio_stream(work: Work) -> None:
    """Pass items through an anyio memory stream as large as the window."""
    send, receive = anyio.create_memory_object_stream[bytes](WINDOW)

    async def produce() -> None:
        async with send:
            for _ in range(work.count):
                await send.send(BODY)

    with work.clock.running():
        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(produce)
            async for _ in receive:
                pass


QUEUE, STREAM = "asyncio.Queue", "anyio memory stream"
RAW_FOR, TYPED_FOR = "async for, raw", "async for, typed"
RAW_ACK, TYPED_ACK = "async for + pipelined ack, raw", "async for + pipelined ack, typed"

CONTESTS = (
    Contest(
        "engine",
        {
            RAW_FOR: iterate(RAW_TOPIC, BODY),
            TYPED_FOR: iterate(TYPED_TOPIC, TYPED_BODY),
            RAW_ACK: pipelined(RAW_TOPIC, BODY),
            TYPED_ACK: pipelined(TYPED_TOPIC, TYPED_BODY),
            "64 tasks, confirmed ack, raw": confirmed,
            QUEUE: asyncio_queue,
            STREAM: anyio_stream,
        },
        {
            "async for, raw / asyncio.Queue": (RAW_FOR, QUEUE),
            "pipelined ack, raw / asyncio.Queue": (RAW_ACK, QUEUE),
            "typed / raw, async for": (TYPED_FOR, RAW_FOR),
            "typed / raw, pipelined ack": (TYPED_ACK, RAW_ACK),
        },
        count=(20_000, 100_000),
        rounds=(5, 15),
    ),
)
