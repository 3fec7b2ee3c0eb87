"""The engine alone, over a layer that costs nothing, beside the queues it is measured against.

Each figure is the best of several rounds, all of them interleaved in one run: on a shared machine
the best is what the code can do, the rest is what the neighbours were doing.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from time import perf_counter

import anyio
import msgspec

from acked import JSON, RAW, Channel, Topic
from acked.types import Leased, Record
from benchmarks.recording import RecordingLayer
from benchmarks.report import Report

BODY = b"x" * 100
WINDOW = 1024

Contender = Callable[[int], Awaitable[float]]


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


async def iterate(topic: Topic[bytes] | Topic[Order], body: bytes, count: int) -> float:
    """Read `count` deliveries by `async for` and hold them, unsettled; return seconds."""
    layer = RecordingLayer(recorded(count, body))
    held: list[object] = []
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic, group="g", in_flight=count) as subscription,
    ):
        start = perf_counter()
        async for delivery in subscription:
            held.append(delivery)
            if len(held) == count:
                break
        return perf_counter() - start


async def pipelined(topic: Topic[bytes] | Topic[Order], body: bytes, count: int) -> float:
    """Read and ack `count` deliveries with `confirm_acks=False`; return seconds until all are."""
    layer = RecordingLayer(recorded(count, body))
    async with Channel(layer) as channel:
        start = perf_counter()
        async with channel.subscribe(
            topic, group="g", in_flight=WINDOW, confirm_acks=False
        ) as subscription:
            left = count
            async for delivery in subscription:
                await delivery.ack()
                left -= 1
                if not left:
                    break
        elapsed = perf_counter() - start
    if layer.settled != count:
        raise AssertionError(f"{layer.settled} of {count} were acked")
    return elapsed


async def confirmed(count: int) -> float:
    """Read `count` deliveries in 64 tasks that each await their ack; return seconds."""
    layer = RecordingLayer(recorded(count, BODY))
    left = count

    async def work() -> None:
        nonlocal left
        async for delivery in subscription:
            await delivery.ack()
            left -= 1
            if left <= 0:
                tasks.cancel_scope.cancel()

    async with (
        Channel(layer) as channel,
        channel.subscribe(RAW_TOPIC, group="g", in_flight=WINDOW) as subscription,
    ):
        start = perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(64):
                tasks.start_soon(work)
        return perf_counter() - start


async def asyncio_queue(count: int) -> float:
    """Pass `count` items through an `asyncio.Queue` as large as the window; return seconds."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(WINDOW)

    async def produce() -> None:
        for _ in range(count):
            await queue.put(BODY)

    start = perf_counter()
    producer = asyncio.create_task(produce())
    for _ in range(count):
        await queue.get()
    await producer
    return perf_counter() - start


async def anyio_stream(count: int) -> float:
    """Pass `count` items through an anyio memory stream as large as the window; return seconds."""
    send, receive = anyio.create_memory_object_stream[bytes](WINDOW)

    async def produce() -> None:
        async with send:
            for _ in range(count):
                await send.send(BODY)

    start = perf_counter()
    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(produce)
        async for _ in receive:
            pass
    return perf_counter() - start


CONTENDERS: dict[str, Contender] = {
    "async for, raw": lambda n: iterate(RAW_TOPIC, BODY, n),
    "async for, typed": lambda n: iterate(TYPED_TOPIC, TYPED_BODY, n),
    "async for + pipelined ack, raw": lambda n: pipelined(RAW_TOPIC, BODY, n),
    "async for + pipelined ack, typed": lambda n: pipelined(TYPED_TOPIC, TYPED_BODY, n),
    "64 tasks, confirmed ack, raw": confirmed,
    "asyncio.Queue": asyncio_queue,
    "anyio memory stream": anyio_stream,
}
COUNT = 20_000
"""Messages in one go: what is read without settlement is held, so this is also what is held."""


def run(*, quick: bool) -> Report:
    """Measure every contender, interleaved, and return what it came to."""
    rounds = 10 if quick else 50
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            gc.collect()  # what the one before left behind is not this one's to clear away
            rate = COUNT / asyncio.run(as_coroutine(contender(COUNT)))
            best[name] = max(best.get(name, 0.0), rate)
    report = Report("engine", "deliveries/s", best)
    report.ratio("typed / raw, async for", "async for, typed", "async for, raw")
    report.ratio(
        "typed / raw, pipelined ack",
        "async for + pipelined ack, typed",
        "async for + pipelined ack, raw",
    )
    report.ratio("async for, raw / asyncio.Queue", "async for, raw", "asyncio.Queue")
    report.ratio("async for, raw / anyio stream", "async for, raw", "anyio memory stream")
    return report


async def as_coroutine(awaitable: Awaitable[float]) -> float:
    """Await `awaitable`: `asyncio.run` takes coroutines only."""
    return await awaitable
