"""A gap is told when it happens, and what does not decode ends no reader."""

import logging

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    Channel,
    ConfigurationError,
    ConnectionLost,
    DecodeError,
    Gap,
    GapCause,
    Message,
    Overflow,
    StreamOverflow,
    Topic,
)
from acked.layers.memory import MemoryLayer
from acked.types import Record
from tests.core.scripted import ScriptedNews

pytestmark = pytest.mark.anyio

T = Topic("t", int)
RECONNECT = Gap(None, frozenset({GapCause.RECONNECT}))


def dropped(count: int) -> Gap:
    return Gap(count, frozenset({GapCause.OVERFLOW}))


def news(number: int, body: bytes | None = None) -> Record:
    return Record("t", b"%d" % number if body is None else body, f"id-{number}")


def seen(item: Message[int] | Gap) -> int | Gap:
    if isinstance(item, Gap):
        return item
    assert item.gap is None
    return item.body


async def test_a_gap_wakes_the_reader_of_a_quiet_topic() -> None:
    layer = ScriptedNews()
    told: list[int | Gap] = []
    async with (
        Channel(layer) as channel,
        channel.subscribe(T) as sub,
        anyio.create_task_group() as tasks,
    ):

        async def read() -> None:
            async for item in sub.with_gaps():
                told.append(seen(item))

        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        layer.sinks[0].gap(RECONNECT)
        await wait_all_tasks_blocked()
        assert told == [RECONNECT]
        layer.sinks[0].gap(RECONNECT)
        layer.sinks[0].offer(news(1))
        await wait_all_tasks_blocked()
        assert told == [RECONNECT, RECONNECT, 1]
        tasks.cancel_scope.cancel()


async def test_a_gap_wakes_a_reader_of_batches_before_its_time_is_over() -> None:
    layer = ScriptedNews()
    told: list[list[int | Gap]] = []
    async with (
        Channel(layer) as channel,
        channel.subscribe(T) as sub,
        anyio.create_task_group() as tasks,
    ):

        async def read() -> None:
            async for batch in sub.with_gaps().batches(10, wait=3600):
                told.append([seen(item) for item in batch])

        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        layer.sinks[0].offer(news(1))
        await wait_all_tasks_blocked()
        layer.sinks[0].gap(RECONNECT)
        await wait_all_tasks_blocked()
        assert told == [[1, RECONNECT]]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Overflow.DROP_OLDEST, [dropped(5_997), 5_997, 5_998, 5_999]),
        (Overflow.DROP_NEWEST, [0, 1, 2, dropped(5_997)]),
    ],
)
async def test_a_dropped_tail_is_told_at_its_place(policy: Overflow, told: list[object]) -> None:
    async with (
        Channel(MemoryLayer()) as channel,
        channel.subscribe(T, capacity=3, overflow=policy) as sub,
    ):
        await channel.publish_many(T, range(6_000))
        items = sub.with_gaps()
        assert [seen(await anext(items)) for _ in told] == told
        assert sub.statistics().missed == 5_997


async def test_a_block_that_was_cut_off_is_told() -> None:
    async with (
        Channel(MemoryLayer()) as channel,
        channel.subscribe(T, capacity=1, overflow=Overflow.BLOCK) as sub,
    ):
        with anyio.move_on_after(0.01):
            await channel.publish_many(T, range(5))
        items = sub.with_gaps()
        assert [seen(await anext(items)) for _ in range(2)] == [0, dropped(4)]


async def test_each_place_has_its_own_gap_in_a_batch() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe(T, capacity=4) as sub:
        sink = layer.sinks[0]
        for step in (0, RECONNECT, 1, RECONNECT, 2, 3, 4):
            if isinstance(step, Gap):
                sink.gap(step)
            else:
                sink.offer(news(step))
        batches = sub.with_gaps().batches(4)
        first = await anext(batches)
        both = Gap(None, frozenset({GapCause.OVERFLOW, GapCause.RECONNECT}))
        assert [seen(item) for item in first] == [both, 1, RECONNECT, 2]
        assert [seen(item) for item in await anext(batches)] == [3, 4]


@pytest.mark.parametrize("end", ["failure", "overflow"])
async def test_a_gap_comes_before_what_ends_the_stream(end: str) -> None:
    layer = ScriptedNews()
    policy = Overflow.FAIL if end == "overflow" else Overflow.DROP_NEWEST
    async with (
        Channel(layer) as channel,
        channel.subscribe(T, capacity=1, overflow=policy) as sub,
    ):
        layer.sinks[0].offer(news(0))
        layer.sinks[0].offer(news(1))
        if end == "failure":
            layer.sinks[0].fail(ConnectionLost("gone for good"))
        items = sub.with_gaps()
        assert [seen(await anext(items)) for _ in range(2)] == [0, dropped(1)]
        with pytest.raises(ConnectionLost if end == "failure" else StreamOverflow):
            await anext(items)


async def test_a_gap_that_nobody_was_told_is_logged_once_on_leaving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel:
        async with channel.subscribe(T) as sub:
            layer.sinks[0].offer(news(0))
            await anext(sub)
            for _ in range(5):
                layer.sinks[0].gap(RECONNECT)
            assert sub.statistics().unknown_gaps == 5
        async with channel.subscribe(T) as told:
            layer.sinks[0].gap(RECONNECT)
            assert await anext(told.with_gaps()) == RECONNECT
    (line,) = [r.getMessage() for r in caplog.records if "no message followed" in r.getMessage()]
    assert "reconnect" in line.lower()


async def test_what_does_not_decode_is_skipped_counted_and_logged_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedNews()
    async with (
        Channel(layer) as channel,
        channel.subscribe(T, capacity=4096) as sub,
        anyio.create_task_group() as tasks,
    ):
        got: list[int] = []

        async def read() -> None:
            async for message in sub:
                got.append(message.body)

        tasks.start_soon(read)
        for number in range(1_500):
            layer.sinks[0].offer(news(number, b"a secret"))
        layer.sinks[0].offer(news(7))
        await wait_all_tasks_blocked()
        assert got == [7]
        assert sub.statistics().undecodable == 1_500
        assert sub.statistics().delivered == 1
        tasks.cancel_scope.cancel()
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.partition(" ")[0] for line in lines] == ["1", "10", "100", "1000"]
    assert "secret" not in caplog.text


async def test_skipping_ends_no_batch_and_keeps_the_gap() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe(T, capacity=4) as sub:
        layer.sinks[0].gap(RECONNECT)
        for record in (news(0, b"x"), news(1), news(2, b"x"), news(3)):
            layer.sinks[0].offer(record)
        batch = await anext(sub.batches(10))
        assert [(one.body, one.gap) for one in batch] == [(1, RECONNECT), (3, None)]


async def test_who_wants_it_raised_is_told_of_a_known_choice_only() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel:
        with pytest.raises(ConfigurationError, match="'skip' or 'raise'"):
            channel.subscribe(T, on_undecodable="ignore")  # type: ignore[call-overload]
        async with channel.subscribe(T, on_undecodable="raise") as sub:
            layer.sinks[0].offer(news(1, b"x"))
            with pytest.raises(DecodeError):
                await anext(sub.with_gaps())
