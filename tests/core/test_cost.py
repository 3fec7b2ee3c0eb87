"""What one message costs in instructions of Python's machine: a guard that no noise can fool.

Counted are the instructions that run in functions of `acked`, by a trace, so the count is the same
on every machine and under every load. A fixed run is counted twice, short and long: the difference
is what each message adds, without what opening and closing cost. What C does is not in it. Time stands
still meanwhile: what is done each second would count as often as the run is slow.

`cost.json` keeps what was counted, by version of Python. A run that costs more by 3 % fails here,
and so does one that costs less: write the new figures down, `python -m tests.core.test_cost`.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType

import pytest

import acked
from acked import JSON, RAW, Channel, Topic, VirtualClock
from acked.compat.broadcaster import Broadcast
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Leased, Record
from benchmarks.recording import RecordingLayer

SOURCE = str(Path(acked.__file__).parent)
RECORDED = Path(__file__).with_name("cost.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BODY = b"x" * 100
SHORT, LONG = 200, 1000
SLACK = 0.03
MOST_FOR_A_ROOM = 500
MOST_FOR_A_MESSAGE = 305


def layer_of(count: int) -> RecordingLayer:
    return RecordingLayer([Leased(Record("t", BODY, str(n)), n) for n in range(count)])


def still_queue() -> Channel:
    clock = VirtualClock()
    return Channel(MemoryQueueLayer(clock=clock), clock=clock)


async def iterate(count: int) -> None:
    layer = layer_of(count)
    async with Channel(layer, clock=VirtualClock()) as channel:
        topic = Topic("t", bytes, codec=RAW)
        async with channel.subscribe(topic, group="g", in_flight=count) as subscription:
            held = [await anext(subscription) for _ in range(count)]
        assert len(held) == count


async def acks(count: int, *, confirm: bool) -> None:
    layer = layer_of(count)
    async with Channel(layer, clock=VirtualClock()) as channel:
        topic = Topic("t", bytes, codec=RAW)
        async with channel.subscribe(topic, group="g", confirm_acks=confirm) as subscription:
            for _ in range(count):
                await (await anext(subscription)).ack()
    assert layer.settled == count


async def batches(count: int) -> None:
    layer = layer_of(count)
    async with Channel(layer, clock=VirtualClock()) as channel:
        topic = Topic("t", bytes, codec=RAW)
        async with channel.subscribe(topic, group="g", in_flight=100) as subscription:
            left = count
            while left:
                batch = await anext(subscription.batches(50))
                left -= len(batch)
                await batch.ack()


async def handlers(count: int) -> None:
    layer, left = layer_of(count), count

    async def handle(_: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            working.cancel()

    async with Channel(layer, clock=VirtualClock()) as channel:
        topic = Topic("t", bytes, codec=RAW)
        working = asyncio.ensure_future(channel.process(topic, handle, group="g"))
        await asyncio.wait([working])


async def fan_out(count: int) -> None:
    async with Channel(MemoryLayer()) as channel:
        topic = Topic("t", int, codec=JSON)
        async with (
            channel.subscribe(topic, capacity=count) as one,
            channel.subscribe(topic, capacity=count) as two,
        ):
            for number in range(count):
                await channel.publish(topic, number)
            for _ in range(count):
                await anext(one)
                await anext(two)


async def queue(count: int) -> None:
    async with still_queue() as channel:
        topic = Topic("t", int, codec=JSON)
        for first in range(0, count, 100):
            await channel.publish_many(topic, range(first, first + 100))
        async with channel.subscribe(topic, group="g", in_flight=100) as subscription:
            for _ in range(count):
                await (await anext(subscription)).ack()


RUNS: dict[str, Callable[[int], Awaitable[None]]] = {
    "async for": iterate,
    "async for, confirmed acks": lambda count: acks(count, confirm=True),
    "async for, pipelined acks": lambda count: acks(count, confirm=False),
    "batches of 50": batches,
    "process": handlers,
    "memory, two subscribers": fan_out,
    "memory queue, typed": queue,
}


async def read_by(readers: int, count: int) -> None:
    """Read and ack in so many tasks, which mostly wait."""
    async with still_queue() as channel:
        topic, left = Topic("t", bytes, codec=RAW), count
        await channel.publish_many(topic, [BODY] * count)
        async with channel.subscribe(topic, group="g", in_flight=100) as subscription:

            async def read() -> None:
                nonlocal left
                async for delivery in subscription:
                    await delivery.ack()
                    left -= 1
                    if not left:
                        for task in tasks:
                            task.cancel()

            tasks = [asyncio.create_task(read()) for _ in range(readers)]
            await asyncio.wait(tasks)


async def ack_at_once(crowd: int, count: int) -> None:
    """Hold so many messages, and ack them all at once, again and again."""
    layer = layer_of(count)
    async with Channel(layer, clock=VirtualClock()) as channel:
        topic = Topic("t", bytes, codec=RAW)
        async with channel.subscribe(topic, group="g", in_flight=crowd) as subscription:
            for _ in range(0, count, crowd):
                held = [await anext(subscription) for _ in range(crowd)]
                await asyncio.gather(*[delivery.ack() for delivery in held])
    assert layer.settled == count


async def rooms(count: int) -> None:
    """Enter and leave so many rooms of the drop-in."""
    async with Broadcast("memory://") as broadcast:
        for number in range(count):
            async with broadcast.subscribe(f"room{number}"):
                pass


async def news(count: int) -> None:
    """Publish so many messages of the drop-in to one who reads them."""
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        for _ in range(0, count, 50):
            for _ in range(50):
                await broadcast.publish("room", "x")
            for _ in range(50):
                await subscriber.get()


class Counter:
    """Counts instructions of functions of `acked`, for as long as it traces."""

    def __init__(self) -> None:
        self.count = 0
        self._ours: dict[CodeType, bool] = {}

    def trace(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., object] | None:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(SOURCE)
        if not ours:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, _frame: FrameType, event: str, _arg: object) -> Callable[..., object]:
        self.count += event == "opcode"
        return self._step


def counted(run: Callable[[int], Awaitable[None]], count: int) -> int:
    """Return the instructions of one run."""

    async def running() -> None:
        await run(count)

    counter, before = Counter(), sys.gettrace()
    gc.collect()
    gc.disable()  # what is collected, and when, is not the run's
    sys.settrace(counter.trace)
    try:
        asyncio.run(running())
    finally:
        sys.settrace(before)
        gc.enable()
    return counter.count


def cost_of(name: str) -> float:
    """Return the instructions that each message adds."""
    counted(RUNS[name], SHORT)  # what is looked up once was looked up
    short, long = (counted(RUNS[name], count) for count in (SHORT, LONG))
    return round((long - short) / (LONG - SHORT), 1)


@pytest.mark.parametrize("name", RUNS)
def test_a_message_costs_no_more_instructions_than_was_written_down(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())[PYTHON][name]
    now = cost_of(name)
    assert recorded * (1 - SLACK) <= now <= recorded * (1 + SLACK), (
        f"{name}: {now} instructions a message, {recorded} were written down"
    )


@pytest.mark.parametrize(
    ("run", "few", "many"), [(read_by, 1, 1000), (ack_at_once, 250, 4000)], ids=["readers", "acks"]
)
def test_in_a_crowd_a_message_costs_what_it_costs_alone(
    run: Callable[[int, int], Awaitable[None]], few: int, many: int
) -> None:
    """However many wait for one, or are settled at once."""

    def cost(crowd: int) -> float:
        short, long = (counted(lambda n: run(crowd, n), rounds * many) for rounds in (1, 2))
        return (long - short) / many

    assert cost(many) <= 1.5 * cost(few)


def test_to_enter_and_leave_a_room_of_the_drop_in_costs_as_little_as_the_original() -> None:
    """Row 50: of this many instructions it takes as long as the original does; 652 took thrice."""
    counted(rooms, SHORT)
    assert counted(rooms, LONG) - counted(rooms, SHORT) < MOST_FOR_A_ROOM * (LONG - SHORT)


def test_to_publish_and_read_a_message_of_the_drop_in_costs_as_little_as_the_original() -> None:
    """Row 50: of so many it takes less time than the original does; of 328 it took more."""
    counted(news, SHORT)
    assert counted(news, LONG) - counted(news, SHORT) < MOST_FOR_A_MESSAGE * (LONG - SHORT)


if __name__ == "__main__":
    figures = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    figures[PYTHON] = {name: cost_of(name) for name in RUNS}
    RECORDED.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n")
    print(RECORDED.read_text())
