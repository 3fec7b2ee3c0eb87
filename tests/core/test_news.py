"""Bounded streams: what is lost is counted and told; nobody hangs."""

import gc
import time
import tracemalloc

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    Channel,
    ChannelClosed,
    ConnectionLost,
    DecodeError,
    Gap,
    GapCause,
    Overflow,
    StreamOverflow,
    Topic,
)
from acked.types import Record
from tests.core.scripted import ScriptedNews

pytestmark = pytest.mark.anyio

OVERFLOW = frozenset({GapCause.OVERFLOW})


def news(number: int, body: bytes | None = None) -> Record:
    return Record("t", b"%d" % number if body is None else body, f"id-{number}")


@pytest.mark.parametrize(
    ("policy", "read"),
    [
        (Overflow.DROP_OLDEST, [(2, 2), (3, None), (4, None)]),
        (Overflow.DROP_NEWEST, [(0, None), (1, None), (2, None)]),
    ],
)
async def test_a_slow_reader_is_told_what_it_missed_just_before_what_it_gets(policy, read) -> None:
    layer = ScriptedNews()
    async with (
        Channel(layer) as channel,
        channel.subscribe(Topic("t", int), capacity=3, overflow=policy) as sub,
    ):
        for number in range(5):
            assert layer.sinks[0].offer(news(number))
        got = [await anext(sub) for _ in range(3)]
        assert [(m.body, m.gap.missed if m.gap else None) for m in got] == read
        layer.sinks[0].offer(news(9))
        last = await anext(sub)
        assert last.gap == (Gap(2, OVERFLOW) if policy is Overflow.DROP_NEWEST else None)
        assert sub.statistics().missed == 2
        assert sub.statistics().delivered == 4


async def test_block_makes_the_sender_wait_and_drops_nothing() -> None:
    layer = ScriptedNews()
    sent: list[int] = []
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", capacity=2, overflow=Overflow.BLOCK) as sub,
        anyio.create_task_group() as tasks,
    ):

        async def send() -> None:
            for number in range(5):
                await layer.sinks[0].send(news(number))
                sent.append(number)

        tasks.start_soon(send)
        await wait_all_tasks_blocked()
        assert sent == [0, 1]
        assert not layer.sinks[0].offer(news(7))
        assert [(await anext(sub)).body for _ in range(5)] == [0, 1, 2, 3, 4]
        assert sub.statistics().missed == 0


async def test_a_sender_that_waits_goes_on_when_the_reader_leaves() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, anyio.create_task_group() as tasks:
        async with channel.subscribe("t", capacity=1, overflow=Overflow.BLOCK):
            sink = layer.sinks[0]
            sink.offer(news(0))
            tasks.start_soon(sink.send, news(1))
            await wait_all_tasks_blocked()


async def test_fail_raises_with_the_count_after_what_was_waiting() -> None:
    layer = ScriptedNews()
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", capacity=2, overflow=Overflow.FAIL) as sub,
    ):
        for number in range(5):
            layer.sinks[0].offer(news(number))
        assert [(await anext(sub)).body for _ in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(StreamOverflow, match="3 message") as caught:
                await anext(sub)
            assert caught.value.missed == 3


async def test_gaps_of_the_layer_and_of_the_buffer_come_as_one() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe("t", capacity=1) as sub:
        layer.sinks[0].offer(news(0))
        layer.sinks[0].gap(Gap(None, frozenset({GapCause.RECONNECT})))
        layer.sinks[0].offer(news(1))
        message = await anext(sub)
        assert message.gap == Gap(None, frozenset({GapCause.RECONNECT, GapCause.OVERFLOW}))
        assert (sub.statistics().missed, sub.statistics().unknown_gaps) == (1, 1)
        layer.sinks[0].gap(Gap(5, frozenset({GapCause.BROKER})))
        assert sub.statistics().missed == 6


async def test_a_layer_that_gives_up_is_raised_after_what_is_buffered() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe("t") as sub:
        layer.sinks[0].offer(news(0))
        layer.sinks[0].fail(ConnectionLost("gone for good"))
        assert (await anext(sub)).body == 0
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="gone for good"):
                await anext(sub)


async def test_an_undecodable_body_raises_once_and_reading_goes_on_behind_it() -> None:
    layer = ScriptedNews()
    async with (
        Channel(layer) as channel,
        channel.subscribe(Topic("t", int), capacity=2, on_undecodable="raise") as sub,
    ):
        for record in (news(0), news(1, b"secret"), news(2)):
            layer.sinks[0].offer(record)
        with pytest.raises(DecodeError, match="message 'id-1'") as caught:
            await anext(sub)
        assert "secret" not in str(caught.value)
        after = await anext(sub)
        assert (after.body, after.gap) == (2, Gap(1, OVERFLOW))
        assert sub.statistics().undecodable == 1


async def test_batches_of_news_hand_out_what_is_there() -> None:
    layer = ScriptedNews()
    topic = Topic("t", int)
    async with Channel(layer) as channel, channel.subscribe(topic, on_undecodable="raise") as sub:
        for record in (news(0), news(1), news(2, b"x"), news(3)):
            layer.sinks[0].offer(record)
        batches = sub.batches(10)
        assert [m.body for m in await anext(batches)] == [0, 1]
        with pytest.raises(DecodeError):
            await anext(batches)
        assert [m.body for m in await anext(batches)] == [3]


async def test_leaving_ends_another_tasks_reading_with_an_error() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, anyio.create_task_group() as tasks:
        async with channel.subscribe("t") as sub:

            async def read() -> None:
                with pytest.raises(ChannelClosed):
                    await anext(sub)

            tasks.start_soon(read)
            await wait_all_tasks_blocked()
        assert layer.sinks == []


async def test_a_busy_stream_lets_other_tasks_run() -> None:
    """A reader whose handler never suspends gives way every few milliseconds."""
    layer = ScriptedNews()
    turns = 0
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", capacity=1000) as sub,
        anyio.create_task_group() as tasks,
    ):

        async def other() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        tasks.start_soon(other)
        for number in range(1000):
            layer.sinks[0].offer(news(number))
        for _ in range(1000):
            await anext(sub)
            work_until = time.perf_counter() + 0.0001
            while time.perf_counter() < work_until:
                pass
        tasks.cancel_scope.cancel()
    assert turns >= 20  # 1000 reads of a tenth of a millisecond each, in turns of 25


async def test_what_waits_and_gives_up_leaves_nothing_behind() -> None:
    """A reader that looks again and again on a quiet topic must not make the stream grow."""
    async with Channel(ScriptedNews()) as channel, channel.subscribe("t") as sub:
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(300):
            with anyio.move_on_after(0):
                await anext(sub)
        gc.collect()
        assert len(gc.get_objects()) - before < 100


async def test_one_of_two_readers_gives_up_and_the_other_one_reads_on() -> None:
    layer = ScriptedNews()
    got: list[object] = []
    async with (
        Channel(layer) as channel,
        channel.subscribe("t") as sub,
        anyio.create_task_group() as tasks,
    ):
        leaving = anyio.CancelScope()

        async def read() -> None:
            got.append((await anext(sub)).body)

        async def give_up() -> None:
            with leaving:
                await read()

        tasks.start_soon(give_up)
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        leaving.cancel()
        layer.sinks[0].offer(news(1))  # both are woken: one by the message, one by its end
    assert got == [1]


async def test_reading_what_could_not_be_entered_raises() -> None:
    class Refusing(ScriptedNews):
        def listen(self, topics, sink):
            del topics, sink
            raise ConnectionLost("nobody there")

    async with Channel(Refusing()) as channel:
        sub = channel.subscribe("t")
        with pytest.raises(ConnectionLost):
            await sub.__aenter__()
        with pytest.raises(ChannelClosed):
            await anext(sub)


async def test_a_subscriber_that_waits_takes_less_than_8_kb() -> None:
    """All of it, the task that waits included (mostly that, on trio). There may be thousands."""
    subscribers = 200
    async with Channel(ScriptedNews()) as channel, anyio.create_task_group() as tasks:

        async def read() -> None:
            async with channel.subscribe("t") as sub:
                await anext(sub)

        async def everybody() -> None:
            for _ in range(subscribers):
                tasks.start_soon(read)
            await wait_all_tasks_blocked()

        tracemalloc.start()
        try:
            await everybody()
            gc.collect()
            each = tracemalloc.get_traced_memory()[0] / subscribers
        finally:
            tracemalloc.stop()
        tasks.cancel_scope.cancel()
    assert each < 8192
