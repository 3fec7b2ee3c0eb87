"""Leases of a queue file and what ends them, within one process."""

import time
from pathlib import Path

import anyio
import pytest

from acked import Channel, Redelivery
from acked.clocks import SystemClock, VirtualClock
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.types import Settlement, Start, Verb
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
    LOST,
    TIMEOUT,
    acks,
    consuming,
    kept,
    make,
    receive,
    seen,
    settle,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_expired_leases_come_first_in_their_order_and_count(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as dead:
        async with consuming(layer) as feed:
            await layer.publish(make("a", "b", "c", "d"))
            assert seen(await receive(dead, 2)) == [("a", 1), ("b", 1)]
            clock.advance(LEASE)
            assert seen(await receive(feed, 1)) == [("a", 2)]
            assert seen(await receive(feed)) == [("b", 2), ("c", 1), ("d", 1)]


@pytest.mark.parametrize("verb", Verb)
async def test_a_lease_that_is_over_is_its_holders_until_another_one_looks(
    path: Path, verb: Verb
) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        late, late_too = await receive(feed)
        clock.advance(2 * LEASE)
        assert await settle(feed, Settlement(late.token, verb)) == [CONFIRMED]
        assert await feed.extend([late_too.token], LEASE) == [CONFIRMED]


async def test_a_consumer_never_takes_from_itself_what_it_holds(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        late, late_too = await receive(feed)
        clock.advance(2 * LEASE)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        assert await feed.extend([late.token], LEASE) == [CONFIRMED]
        async with consuming(layer) as other:
            assert seen(await receive(other)) == [("b", 2)]
            assert await settle(feed, *acks([late, late_too])) == [CONFIRMED, LOST]


async def test_a_stalled_consumer_does_not_bury_what_nobody_saw(path: Path) -> None:
    """A handler blocks for longer than a lease: what waits behind it is not charged for that."""
    policy = Redelivery(max_deliveries=2, dead_letter="dead")
    async with Channel(SQLiteQueueLayer(path)) as channel:
        await channel.publish_many("t", range(20))
        async with channel.subscribe("t", group="g", lease=0.3, redelivery=policy) as sub:
            for number in range(20):
                with anyio.fail_after(TIMEOUT):
                    delivery = await anext(sub)
                assert (delivery.body, delivery.attempt) == (number, 1)
                if number in {0, 7}:
                    time.sleep(0.4)  # the handler blocks the loop
                await delivery.ack()
    assert kept(path) == []


async def test_the_feed_tells_when_it_leased_and_how_far_it_is_behind(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer, "t", "u") as feed:
        assert isinstance(feed, SQLiteQueueFeed)
        await layer.publish(make("a", "b", "c", timestamp=5.0))
        await layer.publish(make("d", topic="u"))
        clock.advance(5.0)
        before = SystemClock().time()
        held = await receive(feed, 3)
        assert feed.lag() == 1
        assert before <= feed.leased_at <= SystemClock().time()
        await layer.publish(make("e"))
        await feed.extend([held[0].token], LEASE)  # also while it receives nothing
        assert feed.lag() == 2
        await feed.release([held[0].token])
        rest = await receive(feed)
        assert (len(rest), feed.lag()) == (3, 0)
        async with consuming(layer, group="since", start=Start.at(2.0)) as since:
            assert isinstance(since, SQLiteQueueFeed)
            assert len(await receive(since, 2)) == 2
            assert since.lag() == 1
            await since.release([])
            assert len(await receive(since)) == 1
            assert since.lag() == 0


async def test_a_lag_counts_what_is_kept_and_not_what_was(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b", "c"))
        await settle(feed, *acks((await receive(feed))[1:]))
        await layer.publish(make("d"))
        for group, start, expected in (
            ("early", Start.EARLIEST, 1),
            ("late", Start.LATEST, 0),
        ):
            async with consuming(layer, group=group, start=start) as other:
                assert isinstance(other, SQLiteQueueFeed)
                if expected:
                    assert len(await receive(other, 1)) == 1
                await other.extend([], 1.0)
                assert other.lag() == expected


async def test_a_nack_comes_again_at_once_or_after_its_delay_and_not_before(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b", "c"))
        a, b, _c = await receive(feed)
        nacks = [Settlement(a.token, Verb.NACK), Settlement(b.token, Verb.NACK, 10.0)]
        assert await settle(feed, *nacks) == [CONFIRMED, CONFIRMED]
        assert await settle(feed, *nacks) == [LOST, LOST]
        assert seen(await receive(feed)) == [("a", 2)]
        clock.advance(9.9)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        clock.advance(0.1)
        assert seen(await receive(feed)) == [("b", 2)]


async def test_a_rejection_and_its_dead_letter_are_one_step(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        a, b = await receive(feed)
        (dead,) = make("dead", topic="t.dead")
        assert await settle(feed, Settlement(a.token, Verb.REJECT, dead_letter=dead)) == [CONFIRMED]
        assert kept(path) == ["b", "dead"]
        clock.advance(LEASE)
        async with consuming(layer) as other:
            assert seen(await receive(other)) == [("b", 2)]
            assert await settle(feed, Settlement(b.token, Verb.REJECT, dead_letter=dead)) == [LOST]
        assert kept(path) == ["b", "dead"]
        async with consuming(layer, "t.dead") as burials:
            assert seen(await receive(burials)) == [("dead", 1)]


async def test_a_stale_token_changes_nothing_for_the_present_holder(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as late:
        async with SQLiteQueueLayer(path, time=clock.time) as other, consuming(other) as holder:
            await layer.publish(make("a"))
            (stale,) = await receive(late)
            clock.advance(LEASE)
            (held,) = await receive(holder)
            for verb in Verb:
                assert await settle(late, Settlement(stale.token, verb)) == [LOST]
            assert await late.extend([stale.token, "no token"], 1000) == [LOST, LOST]
            await late.release([stale.token])
            assert await settle(late, Settlement("no token", Verb.ACK)) == [LOST]
            clock.advance(LEASE - 1)
            assert await settle(holder, *acks([held])) == [CONFIRMED]


async def test_an_extended_lease_lasts_and_charges_no_attempt(path: Path) -> None:
    clock = VirtualClock()
    async with SQLiteQueueLayer(path, time=clock.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a"))
        (a,) = await receive(feed)
        clock.advance(LEASE - 1)
        assert await feed.extend([a.token], LEASE) == [CONFIRMED]
        clock.advance(LEASE - 1)
        await layer.publish(make("sentinel"))
        assert seen(await receive(feed)) == [("sentinel", 1)]
        async with consuming(layer) as other:
            clock.advance(1)
            assert seen(await receive(other)) == [("a", 2)]
            assert await feed.extend([a.token], LEASE) == [LOST]


async def test_a_release_charges_no_attempt_and_leaving_gives_back_what_is_held(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a", "b", "c"))
        async with consuming(layer) as feed:
            a, _b, c = await receive(feed)
            await feed.release([a.token])
            await settle(feed, *acks([c]))
        async with consuming(layer) as feed:
            assert seen(await receive(feed)) == [("a", 1), ("b", 2)]
