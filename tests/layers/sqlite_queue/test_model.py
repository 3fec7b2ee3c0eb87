"""The queue file does what the memory queue does, step by step, for any program."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acked.abc import AckFeed
from acked.clocks import VirtualClock
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.types import Leased, Record, Settlement, Start, Verb
from tests.layers.sqlite_kit import LEASE, consuming, seen

pytestmark = pytest.mark.anyio

FEEDS = (("t", "g"), ("t", "g"), ("t", "h"))
which = st.integers(0, len(FEEDS) - 1)
any_held = st.integers(0, 50)

Step: TypeAlias = tuple[object, ...]

steps = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.just("receive"), which, st.integers(1, 6)),
    st.tuples(
        st.just("settle"),
        which,
        st.lists(any_held, min_size=1, max_size=4),
        st.sampled_from(Verb),
        st.sampled_from([0.0, LEASE / 2, LEASE]),
    ),
    st.tuples(st.just("extend"), which, any_held),
    st.tuples(st.just("release"), which, any_held),
    st.tuples(st.just("advance"), st.sampled_from([1.0, LEASE / 2, LEASE])),
    st.tuples(st.just("rejoin"), which),
    st.tuples(st.just("new group"), st.sampled_from([Start.EARLIEST, Start.LATEST, Start.at(20)])),
)


class Twins:
    """Both layers under one clock, doing the same."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.clock = VirtualClock()
        self.stack = stack
        self.layers = (
            MemoryQueueLayer(clock=self.clock),
            SQLiteQueueLayer(path, durability="normal", time=self.clock.time),
        )
        self.feeds: list[tuple[AckFeed, AckFeed]] = []
        self.exits: list[AsyncExitStack] = []
        self.held: list[list[tuple[Leased, Leased]]] = []
        self.published = 0

    async def open(self) -> None:
        await self.stack.enter_async_context(self.layers[1])
        for number in range(len(FEEDS)):
            await self.join(number)

    async def join(self, number: int, group: str = "", start: Start = Start.EARLIEST) -> None:
        """Let the consumer `number` join, in the place of one that has left."""
        exits = await self.stack.enter_async_context(AsyncExitStack())
        group = group or FEEDS[number][1]
        pair = [
            await exits.enter_async_context(consuming(layer, "t", group=group, start=start))
            for layer in self.layers
        ]
        for column, value in (
            (self.feeds, (pair[0], pair[1])),
            (self.exits, exits),
            (self.held, []),
        ):
            column[number : number + 1] = [value]  # type: ignore[list-item]

    async def publish(self, count: int) -> None:
        now = self.clock.time()
        numbers = range(self.published, self.published + count)
        records = [Record("t", b"", str(number), timestamp=now) for number in numbers]
        self.published += count
        for layer in self.layers:
            await layer.publish(records)

    async def receive(self, number: int, limit: int) -> None:
        memory, file = self.feeds[number]
        assert isinstance(file, SQLiteQueueFeed)
        expected = await ready(memory, limit)
        found = (await file._look(limit)).batch
        assert seen(found) == seen(expected)
        self.held[number] += zip(expected, found, strict=True)

    async def settle(self, number: int, which: list[int], verb: Verb, delay: float) -> None:
        delay = delay if verb is Verb.NACK else 0.0
        if pairs := await self._pairs(number, which):
            memory, file = [
                await feed.settle([Settlement(one.token, verb, delay) for one in side])
                for feed, side in zip(self.feeds[number], zip(*pairs, strict=True), strict=True)
            ]
            assert file == memory

    async def extend(self, number: int, which: int) -> None:
        for pair in await self._pairs(number, [which]):
            memory, file = [
                await feed.extend([one.token], LEASE)
                for feed, one in zip(self.feeds[number], pair, strict=True)
            ]
            assert file == memory

    async def release(self, number: int, which: int) -> None:
        for pair in await self._pairs(number, [which]):
            for feed, one in zip(self.feeds[number], pair, strict=True):
                await feed.release([one.token])

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def rejoin(self, number: int) -> None:
        await self.exits[number].aclose()
        await self.join(number)

    async def new_group(self, start: Start) -> None:
        await self.join(len(self.feeds), f"group {len(self.feeds)}", start)
        await self.receive(len(self.feeds) - 1, 100)

    async def _pairs(self, number: int, which: list[int]) -> list[tuple[Leased, Leased]]:
        """Return some that the consumer holds or held, after fetching some if there are none."""
        held = self.held[number]
        if not held:
            await self.publish(1)
            await self.receive(number, 3)
        return [held[one] for one in dict.fromkeys(one % len(held) for one in which if held)]


async def ready(feed: AckFeed, limit: int) -> Sequence[Leased]:
    """Return what a receive of the memory queue returns without waiting."""
    batch: list[Leased] = []

    async def take() -> None:
        batch.extend(await feed.receive(limit))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        for _ in range(3):  # one to begin, one that it makes itself, one to be sure
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return batch


@settings(max_examples=100, deadline=None)
@given(program=st.lists(steps, min_size=5, max_size=40))
async def test_any_program_ends_as_in_the_memory_queue(program: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            twins = Twins(Path(folder) / "q.db", stack)
            await twins.open()
            for word, *arguments in program:
                await getattr(twins, str(word).replace(" ", "_"))(*arguments)
            twins.clock.advance(10 * LEASE)
            for number in range(len(FEEDS)):
                await twins.receive(number, 1000)
