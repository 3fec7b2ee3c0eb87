"""Laws of size: every verb with more than a page of messages, and of topics and groups with three.

Code for the thousand-and-first runs nowhere else: pages, chunks, arguments of one script, windows.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio

from acked import AckSubscription, Record, Start
from acked.abc import AckFeed
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import (
    all_that_is_owed,
    asleep,
    in_claimed_order,
    nothing_is_owed,
)
from acked.conformance.laws.steps import (
    LONG,
    Place,
    ack_all,
    bodies,
    introduce,
    lease,
    opened,
    place,
    receive,
    receive_while_passes,
    silent,
    soon,
)
from acked.types import Leased, Outcome, Settlement, Token, Verb

__all__ = ("SizeLaws",)

MANY: Final = 1100
MORE: Final = 1900
DONE: Final = frozenset({Outcome.CONFIRMED, Outcome.SENT})
LETTER: Final = b'"letter"'


class SizeLaws:
    """What holds for one holds for a thousand, and for each of a mixed lot."""

    @law("A8", "A1")
    async def test_a_publish_of_nineteen_hundred_is_whole_and_receipted_in_order(
        self, harness: Harness
    ) -> None:
        """A8, A1: each once; the receipts are in the order of the records."""
        async with place(harness) as (channel, topic, group):
            ids = [harness.topic("id") for _ in range(MORE)]
            records = [Record(topic, str(n).encode(), one) for n, one in enumerate(ids)]
            receipts = await channel.layer.publish(records)
            assert [(one.id, one.topic) for one in receipts] == [(one, topic) for one in ids]
            positions = [one.position for one in receipts if one.position]
            assert len(set(positions)) == len(positions), "two receipts with one position"
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                owed = await all_that_is_owed(channel, topic, sub)
            arrived = [delivery.id for delivery in owed]
            assert Counter(arrived) == Counter(ids)
            assert in_claimed_order(channel.layer.capabilities, arrived, ids)

    @law("C15", "C1")
    async def test_eleven_hundred_acks_at_once_are_each_answered(self, harness: Harness) -> None:
        """C15, C1: in one call; one answer for each, and none comes again."""
        async with place(harness) as here:
            count = min(MANY, harness.most_held)
            async with consuming(here, count) as feed:
                held = await filled(here, feed, count)
                replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in held])
                assert len(replies) == count
                assert set(replies) <= DONE
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("C15", "C3", "D1", needs=("nack_delay", "reject", "dead_letter", "out_of_order_ack"))
    async def test_each_of_a_mixed_batch_is_settled_its_own_way(self, harness: Harness) -> None:
        """C15, C3, D1: acks, nacks, delays and letters in one call, a hundred of each."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, dead, group=group)
            count = 100 * 4
            async with consuming(here, count) as feed:
                held = await filled(here, feed, count)
                batch = [mixed(number, one, dead, harness) for number, one in enumerate(held)]
                assert set(await feed.settle(batch)) <= DONE
                nacked = names(held[1::4])
                again = await lease(feed, len(nacked))
                assert names(again) == nacked
                await feed.settle([Settlement(one.token, Verb.ACK) for one in again])
            async with channel.subscribe(topic, group=group, in_flight=count, lease=LONG) as sub:
                delayed = await receive_while_passes(harness, harness.lease * 1.1, sub, 100)
                assert {d.id for d in delayed} == names(held[2::4])
                await ack_all(delayed)
            async with channel.subscribe(dead, group=group, lease=LONG) as sub:
                letters = await all_that_is_owed(channel, dead, sub)
            assert Counter(d.id for d in letters) == Counter(names(held[3::4]))
            await nothing_is_owed(channel, topic, group)

    @law("C2", "C16", needs=("release", "competing"))
    async def test_three_hundred_released_at_once_are_free_at_once(self, harness: Harness) -> None:
        """C2, C16: those and no others, for another consumer, and no attempt is charged."""
        async with place(harness) as here:
            count = min(400, harness.most_held)
            async with consuming(here, count) as feed:
                held = await filled(here, feed, count)
                kept, given = held[: count // 4], held[count // 4 :]
                await feed.release([one.token for one in given])
                async with consuming(here, count) as other:
                    again = await lease(other, len(given))
                    assert names(again) == names(given)
                    assert {one.attempt for one in again} == {1}
                    await other.settle([Settlement(one.token, Verb.ACK) for one in again])
                replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in kept])
                assert set(replies) <= DONE
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("C11", needs=("extend", "lease=timer", "competing"))
    async def test_forty_extended_at_once_are_all_extended(self, harness: Harness) -> None:
        """C11: in another order than they came; the answers are in the order asked for."""
        async with place(harness) as here:
            async with silent(here, harness, 41) as feed:
                held = await filled(here, feed, 41)
                gone, *others = held
                await feed.settle([Settlement(gone.token, Verb.ACK)])
                tokens = [one.token for one in [*others[:20], gone, *others[20:]][::-1]]
                replies = await feed.extend(tokens, 6 * harness.lease)
                assert lost_of(tokens, replies) == {gone.token}
                await harness.pass_time(harness.lease * 2)
                async with here.channel.subscribe(
                    here.topic, group=here.group, lease=harness.lease
                ) as sub:
                    owed = await all_that_is_owed(here.channel, here.topic, sub)
                    assert len(owed) == 0, "extended, and another one got it"
                replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in others])
                assert set(replies) <= DONE
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("C11", needs=("extend", "lease=timer", "competing"))
    async def test_an_extension_ends_when_it_was_said_to(self, harness: Harness) -> None:
        """C11: not for ever, and also when it is shorter than the lease was."""
        async with place(harness) as here:
            async with silent(here, harness, 2) as feed:
                longer, shorter = await filled(here, feed, 2)
                await feed.extend([longer.token], harness.lease * 1.2)
                await feed.extend([shorter.token], harness.lease / 4)
                async with here.channel.subscribe(
                    here.topic, group=here.group, lease=harness.lease
                ) as sub:
                    (first,) = await receive_while_passes(harness, harness.lease / 2, sub, 1)
                    assert first.id == shorter.record.id
                    (second,) = await receive_while_passes(harness, harness.lease, sub, 1)
                    assert second.id == longer.record.id
                    await ack_all([first, second])
                assert await feed.settle([Settlement(longer.token, Verb.ACK)]) == [Outcome.LOST]
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("C2", "H4", needs=("extend", "lease=timer", "competing"))
    async def test_all_of_a_dead_consumer_is_recovered_and_nothing_of_a_live_one(
        self, harness: Harness
    ) -> None:
        """C2, H4: 350 of one that fell silent; 50 of the same that were renewed stay."""
        async with place(harness) as here:
            async with silent(here, harness, 400) as feed:
                held = await filled(here, feed, 400)
                kept, dead = held[100:150], held[:100] + held[150:]
                await feed.extend([one.token for one in kept], 8 * harness.lease)
                await harness.pass_time(harness.lease * 1.5)
                async with here.channel.subscribe(
                    here.topic, group=here.group, lease=harness.lease
                ) as sub:
                    recovered: list[str] = []
                    with anyio.fail_after(harness.recovery + soon()):
                        while len(recovered) < len(dead):
                            batch = await anext(sub.batches(100))
                            await batch.ack()
                            recovered += [delivery.id for delivery in batch]
                    assert Counter(recovered) == Counter(names(dead))
                    assert await all_that_is_owed(here.channel, here.topic, sub) == []
                replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in kept])
                assert set(replies) <= DONE
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("C15", "C7", needs=("out_of_order_ack",))
    async def test_outcomes_stay_with_their_members_over_several_topics(
        self, harness: Harness
    ) -> None:
        """C15, C7: three topics in one call, one member of each settled before."""
        topics, group = [harness.topic() for _ in range(3)], harness.group()
        async with opened(harness) as channel:
            await introduce(channel, *topics, group=group)
            for topic in topics:
                await channel.publish_many(topic, range(5))
            async with channel.layer.consume(
                topics, group, in_flight=15, lease=LONG, start=Start.EARLIEST
            ) as feed:
                held = await lease(feed, 15)
                by_topic = {name: [o for o in held if o.record.topic == name] for name in topics}
                assert {len(several) for several in by_topic.values()} == {5}
                stale = {several[n].token for n, several in enumerate(by_topic.values())}
                first = [Settlement(token, Verb.ACK) for token in stale]
                assert set(await feed.settle(first)) <= DONE
                # From the last to the first: no answer is that of a neighbour acked before.
                mixed_up = [one[n].token for n in (4, 3, 2, 1, 0) for one in by_topic.values()]
                replies = await feed.settle([Settlement(t, Verb.ACK) for t in mixed_up])
                assert lost_of(mixed_up, replies) == stale
            for topic in topics:
                await nothing_is_owed(channel, topic, group)

    @law("B7")
    async def test_each_of_three_topics_wakes_who_waits(self, harness: Harness) -> None:
        """B7: by a publisher that is another layer object."""
        topics, group = [harness.topic() for _ in range(3)], harness.group()
        async with (
            opened(harness) as channel,
            opened(harness) as publisher,
            channel.subscribe(*topics, group=group, lease=LONG) as sub,
        ):
            for topic in [*reversed(topics), *topics]:
                async with asleep(sub, 1) as got:
                    await publisher.publish(topic, topic)
                assert bodies(got) == [topic]
                assert got[0].topic == topic
                await ack_all(got)

    @law("B5", needs=("groups", "nack"))
    async def test_three_groups_have_each_their_own(self, harness: Harness) -> None:
        """B5: one acks, one nacks, one has not looked yet."""
        async with place(harness) as (channel, topic, first):
            second, third = harness.group(), harness.group()
            await introduce(channel, topic, group=second)
            await introduce(channel, topic, group=third)
            await channel.publish_many(topic, range(30))
            async with channel.subscribe(topic, group=first, lease=LONG) as sub:
                await ack_all(await receive(sub, 30))
            async with channel.subscribe(topic, group=second, lease=LONG) as sub:
                for delivery in await receive(sub, 30):
                    await delivery.nack()
                again = await receive(sub, 30)
                assert {delivery.attempt for delivery in again} == {2}
                await ack_all(again)
            async with channel.subscribe(topic, group=third, lease=LONG) as sub:
                theirs = await receive(sub, 30)
                assert bodies(theirs) == list(range(30))
                assert {delivery.attempt for delivery in theirs} == {1}
                await ack_all(theirs)
            for group in (first, second, third):
                await nothing_is_owed(channel, topic, group)


def consuming(here: Place, in_flight: int) -> AbstractAsyncContextManager[AckFeed]:
    """Return a consumer without an engine, whose leases do not end meanwhile."""
    return here.channel.layer.consume(
        [here.topic], here.group, in_flight=in_flight, lease=LONG, start=Start.EARLIEST
    )


def another(here: Place, harness: Harness) -> AckSubscription[object]:
    """Return a consumer more of the group."""
    return here.channel.subscribe(here.topic, group=here.group, lease=harness.lease)


async def filled(here: Place, feed: AckFeed, count: int) -> list[Leased]:
    """Publish `count` messages at once and lease them all."""
    await here.channel.publish_many(here.topic, range(count))
    held = await lease(feed, count)
    assert len(names(held)) == count, "one message was leased twice"
    return held


def names(several: Sequence[Leased]) -> set[str]:
    """Return the ids of what is leased."""
    return {one.record.id for one in several}


def lost_of(tokens: Sequence[Token], replies: Sequence[object]) -> set[Token]:
    """Return those of `tokens` whose answer is LOST."""
    pairs = zip(tokens, replies, strict=True)
    return {token for token, reply in pairs if reply is Outcome.LOST}


def mixed(number: int, held: Leased, dead: str, harness: Harness) -> Settlement:
    """Return the settlement of member `number`: an ack, a nack, a delay, a letter, in turns."""
    kind = number % 4
    if kind == 0:
        return Settlement(held.token, Verb.ACK)
    if kind == 3:
        return Settlement(held.token, Verb.REJECT, dead_letter=Record(dead, LETTER, held.record.id))
    return Settlement(held.token, Verb.NACK, delay=harness.lease if kind == 2 else 0.0)
