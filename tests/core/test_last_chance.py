"""Nobody is given up for another's fault: the last chance of a message is its alone.

A consumer that leaves with what it holds stands for a process that died: each message that it had
fetched is charged, and none was nacked. That real processes die in the crash runs is for the layers.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio
import msgspec
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    RAW,
    Backoff,
    Channel,
    ChannelClosed,
    Delivery,
    LeaseLost,
    Redelivery,
    Subscription,
    Topic,
    VirtualClock,
)
from acked._core.ack import last_chance
from acked.abc import LastChanceFeed
from acked.errors import LayerError
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.memory_queue._feed import MemoryQueueFeed
from acked.types import Leased, Start, Token
from tests.core.scripted import ScriptedLayer, leased, prefetch, without

pytestmark = pytest.mark.anyio

DEAD = "t.dead"
TOPIC = Topic("t", bytes, codec=RAW)
THREE = Redelivery(max_deliveries=3, dead_letter=DEAD)


@asynccontextmanager
async def channel_of(
    layer: MemoryQueueLayer, count: int, **options: Any
) -> AsyncGenerator[Channel]:
    async with Channel(layer, close_timeout=0.2, **options) as channel:
        for topic in ("t", DEAD):
            async with layer.consume([topic], "g", in_flight=1, lease=30.0, start=Start.EARLIEST):
                pass
        for number in range(count):
            await channel.publish(TOPIC, b"%d" % number)
        yield channel


async def die(layer: MemoryQueueLayer, count: int, *, alone: int = 0) -> list[Leased]:
    """Fetch `count` messages, note that the first `alone` are, and end without a settlement."""
    consuming = layer.consume(["t"], "g", in_flight=count, lease=30.0, start=Start.EARLIEST)
    async with consuming as feed:
        leased = list(await feed.receive(count))
        for one in leased[:alone]:
            await cast("LastChanceFeed", feed).note_alone(one.token, alone=True)
        # Not by leaving, which is in good order: another one takes what it holds.
        for one in leased:
            lease = vars(feed)["_held"].pop(one.token)
            lease.queue.give_back(lease, charge=True)
    return leased


def letters(layer: MemoryQueueLayer) -> list[bytes]:
    """Return what is among the dead letters."""
    return [kept.record.body for kept in layer._broker.topics[DEAD].kept.values()]


async def test_what_others_took_down_is_handed_out_alone_and_not_buried() -> None:
    layer, most = MemoryQueueLayer(), 0
    handled: list[bytes] = []
    async with channel_of(layer, 20) as channel:
        for _ in range(4):
            await die(layer, 20)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:

            async def handle() -> None:
                nonlocal most
                async for delivery in sub:
                    most = max(most, sub.statistics().held)
                    assert delivery.attempt == 3
                    await anyio.sleep(0)
                    await delivery.ack()
                    handled.append(delivery.body)

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(handle)
                while len(handled) < 20:
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
        assert most == 1
        assert sorted(handled, key=int) == [b"%d" % number for number in range(20)]
        assert letters(layer) == []


async def test_what_was_fetched_behind_a_last_chance_does_not_overtake_it() -> None:
    """Or a key would be out of order where a worker keeps it, in a partition for instance."""
    layer, begun = MemoryQueueLayer(), list[bytes]()
    async with channel_of(layer, 6) as channel:
        for _ in range(2):
            await die(layer, 3)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:

            async def handle() -> None:
                async for delivery in sub:
                    begun.append(delivery.body)
                    await delivery.ack()

            async with anyio.create_task_group() as tasks:
                for _ in range(6):
                    tasks.start_soon(handle)
                with anyio.fail_after(5):
                    while len(begun) < 6:
                        await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
    assert begun == [b"%d" % number for number in range(6)]


async def test_what_a_worker_tries_again_itself_is_told_no_more_attempts_than_there_may_be() -> (
    None
):
    """What others did is charged before it, and its own failures are counted apart."""
    layer, attempts = MemoryQueueLayer(), list[int]()
    at_once = Redelivery(max_deliveries=3, dead_letter=DEAD, backoff=Backoff(initial=0.0))

    async def handle(delivery: Delivery[bytes]) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("as planned")

    async with channel_of(layer, 1) as channel, anyio.create_task_group() as tasks:
        for _ in range(2):
            await die(layer, 1)
        working = partial(
            channel.process, group="g", ordered_by=lambda _: "key", redelivery=at_once
        )
        tasks.start_soon(working, TOPIC, handle)
        with anyio.fail_after(5):
            while not letters(layer):
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
    assert attempts == [3, 3, 3]


async def test_what_ends_its_process_alone_is_buried_and_nobody_with_it() -> None:
    layer = MemoryQueueLayer()
    async with channel_of(layer, 5) as channel:
        for _ in range(2):
            await die(layer, 5)
        for _ in range(2):
            await die(layer, 5, alone=1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            for number in range(1, 5):
                delivery = await anext(sub)
                assert delivery.body == b"%d" % number
                await delivery.ack()
            assert sub.statistics().dead_lettered == 1
        assert letters(layer) == [b"0"]


async def test_its_own_failures_bury_it_and_nobody_pauses_for_that() -> None:
    layer = MemoryQueueLayer()
    async with channel_of(layer, 2) as channel:
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            held = await anext(sub)
            for attempt in (1, 2, 3):
                failing = await anext(sub)
                assert (failing.body, failing.attempt) == (b"1", attempt)
                await failing.nack()
            while not sub.statistics().dead_lettered:
                await anyio.sleep(0.001)
            await held.ack()
        assert letters(layer) == [b"1"]


async def test_a_failure_of_its_own_on_the_last_chance_is_one_failure_more() -> None:
    layer = MemoryQueueLayer()
    async with channel_of(layer, 1) as channel:
        for _ in range(2):
            await die(layer, 1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            for _ in range(3):
                delivery = await anext(sub)
                assert delivery.attempt == 3
                await delivery.nack()
            while not sub.statistics().dead_lettered:
                await anyio.sleep(0.001)
        assert letters(layer) == [b"0"]


async def first(sub: Subscription[Any]) -> Delivery[Any]:
    with anyio.fail_after(5):
        return cast("Delivery[Any]", await anext(sub))


async def test_it_waits_for_what_is_handed_out_in_every_subscription_of_the_loop() -> None:
    layer, other = MemoryQueueLayer(), MemoryQueueLayer()
    async with (
        channel_of(layer, 1) as channel,
        Channel(other) as second,
        second.subscribe(TOPIC, group="g") as elsewhere,
        anyio.create_task_group() as tasks,
    ):
        await second.publish(TOPIC, b"a")
        await second.publish(TOPIC, b"b")
        held = await anext(elsewhere)
        for _ in range(2):
            await die(layer, 1)
        got: list[bytes] = []

        async def read(sub: Subscription[Any]) -> None:
            delivery = await first(sub)
            got.append(delivery.body)
            await wait_all_tasks_blocked()
            assert len(got) == 1
            await delivery.ack()

        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            tasks.start_soon(read, sub)
            await wait_all_tasks_blocked()
            assert got == []
            await held.ack()
            await wait_all_tasks_blocked()
            assert got == [b"0"]
            async with await first(elsewhere) as after:
                assert after.body == b"b"


async def beside_others_once_patience_is_over(
    sub: Subscription[Any], clock: VirtualClock
) -> Delivery[Any]:
    """Return what a second reader is handed, which is nothing for ten leases."""
    got: list[Delivery[Any]] = []

    async def read() -> None:
        got.append(await first(sub))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        assert got == []
        for _ in range(40):
            clock.advance(0.3)
            await wait_all_tasks_blocked()
    return got[0]


async def test_who_never_settles_what_he_holds_gets_it_beside_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    layer = MemoryQueueLayer(clock=clock)
    async with (
        channel_of(layer, 2, clock=clock) as channel,
        channel.subscribe(TOPIC, group="g", redelivery=THREE, lease=1.0) as sub,
    ):
        held = await anext(sub)
        for _ in range(2):
            await die(layer, 1)
        with caplog.at_level(logging.WARNING, "acked.subscription"):
            last = await beside_others_once_patience_is_over(sub, clock)
        assert "handed out beside others" in caplog.text
        await held.ack()
        await last.ack()


async def test_the_others_wait_for_it_only_so_long(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    layer = MemoryQueueLayer(clock=clock)
    async with channel_of(layer, 1, clock=clock) as channel:
        for _ in range(2):
            await die(layer, 1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE, lease=1.0) as sub:
            alone = await first(sub)
            await channel.publish(TOPIC, b"next")
            with caplog.at_level(logging.WARNING, "acked.subscription"):
                following = await beside_others_once_patience_is_over(sub, clock)
            assert "is handled beside others from now on" in caplog.text
            await following.ack()
            # It is not noted as alone any more: what happens to it now may be another's fault.
            (lease,) = vars(sub)["_feed"].held.values()
            assert not lease.is_alone
            await alone.ack()


async def test_who_stood_still_while_it_was_alone_does_not_condemn_it() -> None:
    """A stall longer than a lease, not a death: another one has it meanwhile, and handles it."""
    layer = MemoryQueueLayer()
    async with channel_of(layer, 1) as channel:
        for _ in range(2):
            await die(layer, 1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            stalled = await first(sub)
            feed = vars(sub)["_feed"]
            lease = feed.held.pop(stalled._entry.leased.token)
            lease.queue.give_back(lease, charge=True)  # as the clock does
            with pytest.raises(LeaseLost):
                await stalled.ack()
            async with await first(sub) as again:
                assert again.attempt == 3
            assert sub.statistics().dead_lettered == 0
        assert letters(layer) == []


async def test_leaving_before_its_turn_gives_it_back_uncharged() -> None:
    layer = MemoryQueueLayer()
    async with channel_of(layer, 3) as channel:
        for _ in range(2):
            await die(layer, 3)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            alone = await first(sub)
            assert sub.statistics().buffered <= 2
            await alone.release()
        leased = await die(layer, 3)
        assert [(one.attempt, one.failures, one.ended_alone) for one in leased] == [(3, 0, 0)] * 3


async def test_without_a_reader_it_is_given_back() -> None:
    layer = MemoryQueueLayer()
    async with channel_of(layer, 2) as channel:
        for _ in range(2):
            await die(layer, 2)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            await (await first(sub)).ack()
            with anyio.fail_after(5):
                while sub.statistics().buffered:
                    await anyio.sleep(0.01)
        (left,) = await die(layer, 2)
        assert (left.attempt, left.ended_alone) == (3, 0)


@pytest.mark.parametrize(
    ("attempts", "words"), [(True, "when it died is charged"), (False, "comes again without limit")]
)
async def test_a_layer_that_keeps_no_last_chances_says_so_at_once(
    caplog: pytest.LogCaptureFixture, attempts: bool, words: str
) -> None:
    layer = ScriptedLayer(capabilities=without(attempts=attempts, last_chance=False))
    async with Channel(layer) as channel:
        with caplog.at_level(logging.WARNING, "acked.subscription"):
            async with channel.subscribe(TOPIC, group="g", redelivery=THREE):
                pass
    (told,) = caplog.records
    assert words in told.getMessage()
    assert "max_deliveries=3 counts nacks on this layer" in told.getMessage()


async def test_what_may_have_been_noted_and_cannot_be_is_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = MemoryQueueLayer()

    async def refuse(self: object, token: Token, /, *, alone: bool) -> Token | None:
        raise LayerError("read-only", may_pass=True)

    async with channel_of(layer, 1) as channel:
        for _ in range(2):
            await die(layer, 1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            with monkeypatch.context() as broken:
                broken.setattr(MemoryQueueFeed, "note_alone", refuse)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(first, sub)
                    while "waits for its last chance: read-only" not in caplog.text:
                        await anyio.sleep(0.001)
                    assert sub.statistics().delivered == 0
                    tasks.cancel_scope.cancel()
            async with await first(sub) as delivery:
                assert delivery.attempt == 3


async def test_who_lost_it_before_its_turn_does_not_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = MemoryQueueLayer()

    async def lost(self: object, token: Token, /, *, alone: bool) -> Token | None:
        return None

    async with channel_of(layer, 1) as channel:
        for _ in range(2):
            await die(layer, 1)
        monkeypatch.setattr(MemoryQueueFeed, "note_alone", lost)
        async with (
            channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub,
            anyio.create_task_group() as tasks,
        ):

            async def read() -> None:
                async with await first(sub) as delivery:
                    assert (delivery.body, delivery.attempt) == (b"next", 1)

            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            assert sub.statistics().open_bytes == 0
            await channel.publish(TOPIC, b"next")


async def test_a_subscription_that_comes_while_one_is_alone_waits_until_it_is_settled() -> None:
    layer, got = MemoryQueueLayer(), list[object]()
    async with channel_of(layer, 1) as channel:
        for _ in range(2):
            await die(layer, 1)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            alone = await anext(sub)
            async with (
                channel.subscribe("other", group="g") as other,
                anyio.create_task_group() as tasks,
            ):

                async def read() -> None:
                    async with await anext(other) as delivery:
                        got.append(delivery.body)

                await channel.publish("other", 1)
                tasks.start_soon(read)
                await wait_all_tasks_blocked()
                assert got == []
                await alone.ack()
    assert got == [1]


async def test_what_was_shut_while_it_paused_hands_out_nothing_afterwards() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        held = await anext(sub)
        await prefetch(sub, 2)
        fetcher = sub._policy.fetcher
        fetcher.pause()
        sub.shut(ChannelClosed("shut by this test"))
        fetcher.resume()
        assert not fetcher.buffer
        with pytest.raises(ChannelClosed, match="shut by this test"):
            await anext(sub)
        await held.ack()
    assert sorted(layer.released) == [1, 2]


async def test_what_waits_long_for_its_turn_is_others_to_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(last_chance, "UNSEEN", 0.02)
    layer = MemoryQueueLayer()
    async with channel_of(layer, 3) as channel:
        for _ in range(2):
            await die(layer, 3)
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            await prefetch(sub, 3)
            delivery = await first(sub)
            assert sub.statistics().buffered == 2
            await anyio.sleep(0.05)
            await delivery.ack()
            second = await first(sub)
            assert sub.statistics().buffered == 0  # the third was given back
            await second.ack()
            third = await first(sub)
            assert sorted(one.body for one in (delivery, second, third)) == [b"0", b"1", b"2"]
            await third.ack()
    assert letters(layer) == []


class CannotNote(ScriptedLayer):
    """Keeps last chances, but for a moment nobody can say who has one; and gives back nothing."""

    @asynccontextmanager
    async def consume(self, topics: Any, group: str, **options: Any) -> Any:
        async with super().consume(topics, group, **options) as feed:

            async def note_alone(token: Token, /, *, alone: bool) -> Token | None:
                raise LayerError("no rights")

            feed.note_alone = note_alone  # type: ignore[attr-defined]
            yield feed


async def test_what_can_be_neither_noted_nor_given_back_is_handed_out_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    capabilities = without(last_chance=True, release=False)
    last = msgspec.structs.replace(leased(1, attempt=3), failures=0)
    layer = CannotNote(last, capabilities=capabilities)
    async with Channel(layer) as channel:
        async with channel.subscribe(TOPIC, group="g", redelivery=THREE) as sub:
            delivery = await first(sub)
            assert delivery.attempt == 3
            await delivery.ack()
    assert "message 'id-1' waits for its last chance: no rights" in caplog.text
