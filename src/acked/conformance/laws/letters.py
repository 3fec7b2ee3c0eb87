"""Laws D2, D3, B7 of a dead letter as a message: who gets it, and what a refused one costs."""

from acked import LayerError, Record
from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import asleep, nothing_is_owed
from acked.conformance.laws.steps import (
    LONG,
    ack_all,
    bodies,
    introduce,
    lease,
    place,
    receive,
    silent,
)
from acked.types import Leased, Outcome, Settlement, Verb

__all__ = ("LetterLaws",)

DONE = frozenset({Outcome.CONFIRMED, Outcome.SENT})


class LetterLaws:
    """A dead letter is published as any message is, and is there before the original is not."""

    @law("D1", "B5", "B7", needs=("dead_letter", "reject", "groups"))
    async def test_a_dead_letter_wakes_who_waits_in_each_group(self, harness: Harness) -> None:
        """D1, B5, B7: two groups read the dead letters, and sleep when it comes."""
        dead, other = harness.topic("dead"), harness.group()
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, dead, group=group)
            await introduce(channel, dead, group=other)
            await channel.publish(topic, "bad")
            async with (
                silent(here, harness, 1) as feed,
                channel.subscribe(dead, group=group, lease=LONG) as one,
                channel.subscribe(dead, group=other, lease=LONG) as two,
            ):
                (held,) = await lease(feed, 1)
                async with asleep(one, 1) as first, asleep(two, 1) as second:
                    assert set(await feed.settle([rejection(held, dead)])) <= DONE
                assert bodies(first) == bodies(second) == ["bad"]
                await ack_all(first + second)
            await nothing_is_owed(channel, topic, group)

    @law("D1", "B7", needs=("dead_letter", "reject", "replay"))
    async def test_a_dead_letter_is_kept_until_somebody_looks(self, harness: Harness) -> None:
        """D1, B7: no group knew its topic when it was written; nobody had so much as named it."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            await here.channel.publish(here.topic, "bad")
            async with silent(here, harness, 1) as feed:
                (held,) = await lease(feed, 1)
                assert set(await feed.settle([rejection(held, dead)])) <= DONE
            async with here.channel.subscribe(dead, group=here.group, lease=LONG) as sub:
                letters = await receive(sub, 1)
                assert bodies(letters) == ["bad"]
                await ack_all(letters)
            await nothing_is_owed(*here)

    @law("D3", "C15", needs=("dead_letter", "reject", "out_of_order_ack"), hooks=("refuse",))
    async def test_a_refused_letter_is_that_of_one_member(self, harness: Harness) -> None:
        """D3, C15: of five; the others are settled, and it is held as before."""
        assert harness.refuse is not None
        full, dead = harness.topic("full"), harness.topic("dead")
        async with place(harness) as here:
            await introduce(here.channel, dead, group=here.group)
            await here.channel.publish_many(here.topic, range(5))
            await harness.refuse(full)
            async with silent(here, harness, 5) as feed:
                first, bad, third, good, last = await lease(feed, 5)
                batch = [
                    Settlement(first.token, Verb.ACK),
                    rejection(bad, full),
                    Settlement(third.token, Verb.ACK),
                    rejection(good, dead),
                    Settlement(last.token, Verb.ACK),
                ]
                replies = await feed.settle(batch)
                answer = replies[1]
                assert isinstance(answer, LayerError) or answer is Outcome.UNKNOWN
                assert {replies[n] for n in (0, 2, 3, 4)} <= DONE
                (again,) = await feed.settle([Settlement(bad.token, Verb.ACK)])
                assert again in DONE, "what was refused its letter is held by its holder"
            async with here.channel.subscribe(dead, group=here.group, lease=LONG) as sub:
                letters = await receive(sub, 1)
                assert [letter.id for letter in letters] == [good.record.id]
                await ack_all(letters)
            await nothing_is_owed(*here)

    @law("C7", "D2", needs=("dead_letter", "reject", "lease=timer", "competing"))
    async def test_a_stale_rejection_writes_no_letter(self, harness: Harness) -> None:
        """C7, D2: another one has it, and acks it: it did not die."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            channel, topic, group = here
            await introduce(channel, dead, group=group)
            await channel.publish_many(topic, range(2))
            async with silent(here, harness, 2) as old:
                stale = await lease(old, 2)
                await harness.pass_time(harness.lease * 1.5)
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    held = await receive(sub, 2)
                    batch = [rejection(one, dead) for one in stale]
                    assert list(await old.settle(batch[:1])) == [Outcome.LOST]
                    await ack_all(held)
                    assert list(await old.settle(batch)) == [Outcome.LOST] * 2
            await nothing_is_owed(channel, dead, group)
            await nothing_is_owed(channel, topic, group)


def rejection(held: Leased, dead: str) -> Settlement:
    """Return the settlement that rejects `held`, with a letter to the topic `dead`."""
    letter = Record(dead, held.record.body, held.record.id)
    return Settlement(held.token, Verb.REJECT, dead_letter=letter)
