"""Laws D5 of looking at what a topic keeps: nothing is taken, what is replayed is what it was."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Final, cast

import anyio
import pytest

from acked import RAW, CapabilityError, Channel, DeadLetter, Redelivery, Topic
from acked.abc import AckLayer, BrowsableLayer
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.again import equal, originals
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    place,
    receive,
    silent,
    soon,
)
from acked.types import KeptRecord, Settlement, Verb

__all__ = ("BrowsingLaws",)

MANY: Final = 700
"""More than a page of any layer's."""


class BrowsingLaws:
    """Who browses takes nothing; what is removed is owed to no group any more."""

    @law("D5", needs=("browse", "groups"))
    async def test_what_is_looked_at_is_taken_from_nobody(self, harness: Harness) -> None:
        """D5: more than a page of it, twice, whole and in order; then it comes, at attempt 1."""
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(MANY))
            for _ in range(2):
                shown = await kept_in(channel, topic)
                assert numbers_in(channel, shown) == list(range(MANY))
                assert len({one.position for one in shown}) == MANY
            async with channel.subscribe(topic, group=group, in_flight=MANY, lease=LONG) as sub:
                deliveries = await receive(sub, MANY)
                assert bodies(deliveries) == list(range(MANY))
                assert {delivery.attempt for delivery in deliveries} == {1}
                for delivery in deliveries:
                    await delivery.ack()
            await nothing_is_owed(*here)

    @law("D5", needs=("browse",))
    async def test_what_is_removed_is_shown_no_more_and_the_rest_is(self, harness: Harness) -> None:
        """D5: every other one of more than a page; again is no error."""
        async with place(harness) as (channel, topic, _):
            await channel.publish_many(topic, range(MANY))
            all_of_it = await kept_in(channel, topic)
            positions = [one.position for one in all_of_it]
            layer = cast("BrowsableLayer", channel.layer)
            for _ in range(2):
                assert all(await layer.remove(topic, positions[::2]))
            left = await kept_in(channel, topic)
            assert {one.position for one in left} == set(positions[1::2])
            assert numbers_in(channel, left) == numbers_in(channel, all_of_it[1::2])
            assert all(await layer.remove(topic, positions))
            assert await kept_in(channel, topic) == []

    @law("D5", needs=("browse", "lease=timer", "groups", "nack"))
    async def test_what_is_removed_is_owed_to_no_group(self, harness: Harness) -> None:
        """D5: to one that was never given it, to one that gave it back, to one to come."""
        async with place(harness) as here:
            channel, topic, group = here
            other = harness.group()
            for name in (group, other):
                await introduce(channel, topic, group=name)
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=other, lease=LONG) as sub:
                for delivery in await receive(sub, 3):
                    await delivery.nack()
            shown = await kept_in(channel, topic)
            layer = cast("BrowsableLayer", channel.layer)
            assert all(await layer.remove(topic, [one.position for one in shown[:2]]))
            for name in (group, other):
                async with channel.subscribe(topic, group=name, lease=LONG) as sub:
                    (last,) = await receive(sub, 1)
                    assert last.body == 2
                    await last.ack()
            for name in (group, other):
                await nothing_is_owed(channel, topic, name)
            async with channel.subscribe(topic, group=harness.group(), lease=LONG) as sub:
                new = bodies(await all_that_is_owed(channel, topic, sub))
                assert new in ([], [2]), "a log keeps what all have settled, not what was removed"

    @law("D5", needs=("browse", "lease=timer"))
    async def test_what_a_consumer_holds_is_its_own(self, harness: Harness) -> None:
        """D5: shown as held, not removed, and acked by its holder; the others go."""
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, topic, group=group)
            await channel.publish_many(topic, range(3))
            layer = cast("BrowsableLayer", channel.layer)
            async with channel.subscribe(topic, group=group, in_flight=1, lease=LONG) as sub:
                (held,) = await receive(sub, 1)
                shown = await kept_in(channel, topic)
                are_held = [one.record.id == held.id for one in shown]
                assert [one.is_held for one in shown] == are_held
                assert are_held.count(True) == 1
                gone = await layer.remove(topic, [one.position for one in shown])
                assert list(gone) == [not is_held for is_held in are_held]
                await held.ack()
            assert await kept_in(channel, topic) == []
            await nothing_is_owed(*here)

    @law("D5", needs=("browse", "lease=timer"))
    async def test_what_the_dead_held_may_be_removed(self, harness: Harness) -> None:
        """D5: its lease is over; what its holder says of it then is too late."""
        async with place(harness) as here:
            channel, topic, _ = here
            await channel.publish(topic, "body")
            async with silent(here, harness, 1) as feed:
                await lease(feed, 1)
                await harness.pass_time(harness.lease * 1.5)
                (shown,) = await kept_in(channel, topic)
                assert not shown.is_held
                layer = cast("BrowsableLayer", channel.layer)
                assert list(await layer.remove(topic, [shown.position])) == [True]
            await nothing_is_owed(*here)

    @law("D5", needs=("browse", "dead_letter", "reject"))
    async def test_what_is_replayed_is_what_was_published(self, harness: Harness) -> None:
        """D5: equal in every field, once, and its letter is gone; also after it died twice."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            channel, topic, _ = here
            records = originals(topic, harness, channel.layer.capabilities)
            await channel.layer.publish(records)
            letters = channel.dead_letters(dead)
            for _ in range(2):
                await reject_all(here.channel, topic, here.group, len(records), dead)
                assert await letters.count() == len(records)
                assert (await letters.replay()).replayed == len(records)
                assert await letters.count() == 0
            async with silent(here, harness, len(records)) as feed:
                held = await equal(await lease(feed, len(records)), records)
                await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
            await nothing_is_owed(*here)

    @law("D5", needs=("browse", "dead_letter", "reject", "headers"))
    async def test_a_dry_run_changes_nothing_and_a_filter_leaves_the_rest(
        self, harness: Harness
    ) -> None:
        """D5: what would be replayed is; the letters that were not chosen stay, whole."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            channel, topic, group = here
            await channel.publish_many(topic, range(5))
            await reject_all(channel, topic, group, 5, dead)
            letters = channel.dead_letters(dead)

            def is_even(letter: DeadLetter) -> bool:
                return int(letter.body) % 2 == 0

            dry = await letters.replay(where=is_even, dry_run=True)
            assert (dry.replayed, dry.skipped, await letters.count()) == (3, 2, 5)
            assert await letters.replay(where=is_even) == dry
            assert {int(one.body) async for one in letters.list()} == {1, 3}
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 3)
                assert bodies(again) == [0, 2, 4]
                await ack_all(again)
            assert (await letters.purge()).purged == 2
            assert await letters.count() == 0
            await nothing_is_owed(*here)

    @law("D5", unless=("browse",))
    async def test_looking_is_refused_where_it_cannot_be_done(self, harness: Harness) -> None:
        """D5: at the call."""
        async with place(harness) as (channel, topic, _):
            with pytest.raises(CapabilityError):
                channel.dead_letters(topic)


async def kept_in(channel: Channel[AckLayer], topic: str) -> list[KeptRecord]:
    """Return what `topic` keeps."""
    layer = cast("BrowsableLayer", channel.layer)
    async with aclosing(layer.browse(topic)) as pages:
        return [one async for page in pages for one in page]


def numbers_in(channel: Channel[AckLayer], shown: Sequence[KeptRecord]) -> list[int]:
    """Return the bodies of `shown`: as they came where the layer claims an order for them."""
    numbers = [int(one.record.body) for one in shown]
    return numbers if channel.layer.capabilities.order == "total" else sorted(numbers)


async def reject_all(
    channel: Channel[AckLayer], topic: str, group: str, count: int, dead: str
) -> None:
    """Reject `count` messages of `topic`, each to the dead letters."""
    raw, to = Topic(topic, bytes, codec=RAW), Redelivery(dead_letter=dead)
    async with channel.subscribe(raw, group=group, lease=LONG, redelivery=to) as sub:
        with anyio.fail_after(soon()):
            for _ in range(count):
                await (await anext(sub)).reject("no")
