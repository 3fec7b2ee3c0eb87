"""Law E7: each key in its order, among all consumers of a group that ask for it.

Longer than 300 lines: one law, tried in all the ways in which an order is lost.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, cast

import anyio
from msgspec.structs import replace

from acked import Backoff, Channel, Delivery, Redelivery, Start, Topic
from acked.abc import AckFeed, AckLayer, KeyOrderedLayer
from acked.conformance.child import child, killed
from acked.conformance.harness import Harness, fresh
from acked.conformance.law import law, soon
from acked.conformance.laws.owed import everybody_waits, nothing_is_owed
from acked.conformance.laws.steps import LONG, Place, introduce, lease, opened, place, receive
from acked.types import Leased, Outcome, Record, Settlement, Token, Verb

__all__ = ("KeyOrderLaws",)

POISON: Final = 1500
"""More than a page of whatever a layer looks through at a time."""
KEYS: Final = 600


class KeyOrderLaws:
    """While a message of a key is not settled, no later one of it is anybody's."""

    @law("E7", needs=("key_order",))
    async def test_one_of_a_key_is_out_at_a_time_whoever_asks(self, harness: Harness) -> None:
        """E7: who asks else gets other keys, and what has none; an ack frees the next."""
        async with place(harness) as here:
            await publish(here, "a0 a1 b2 -3 b4 a5 -6")
            async with in_order(here) as one, in_order(here) as other:
                held = await came(one, "a0 b2 -3 -6")
                await publish(here, "a7 c8")
                held_there = await came(other, "c8")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(came, other, "b4")
                    await everybody_waits()
                    await ack(one, held.pop("b2"))
                await ack(one, *held.values())
                await ack(other, *held_there.values())
                held = await came(one, "a1")
                await ack(one, *held.values())
                await came(other, "a5")
            await emptied(here, "b4 a5 a7")

    @law("E7", needs=("key_order", "nack_delay"))
    async def test_a_delay_holds_what_comes_after_it(self, harness: Harness) -> None:
        """E7: for the other consumers, too, and other keys pass by; then it comes first."""
        async with place(harness) as here:
            await publish(here, "a0 a1 b2")
            async with in_order(here) as one, in_order(here) as other:
                held = await came(one, "a0 b2")
                await nack(one, held["a0"], delay=harness.lease / 2)
                await ack(one, held["b2"])
                await publish(here, "b3 a4")
                await ack(other, *(await came(other, "b3")).values())
                await harness.pass_time(harness.lease)
                held = await came(other, "a0")
                await nack(other, held["a0"])
                held = await came(one, "a0")
                await ack(one, held["a0"])
            await emptied(here, "a1 a4")

    @law("E7", needs=("key_order", "publish_delay"))
    async def test_what_is_published_with_a_delay_holds_only_what_comes_after_it(
        self, harness: Harness
    ) -> None:
        """E7: until it is due and settled; what was there before it comes at once."""
        async with place(harness) as here:
            later = replace(record(here, "a1"), delay=harness.lease / 2)
            await publish(here, "a0")
            await here.channel.layer.publish([later])
            await publish(here, "a2 b3")
            async with in_order(here) as feed:
                await ack(feed, *(await came(feed, "a0 b3")).values())
                await publish(here, "c4")
                await ack(feed, *(await came(feed, "c4")).values())
                await harness.pass_time(harness.lease)
                await ack(feed, *(await came(feed, "a1")).values())
                await ack(feed, *(await came(feed, "a2")).values())
            await nothing_is_owed(*here)

    @law("E7", needs=("key_order", "release", "lease=timer"))
    async def test_what_comes_back_keeps_its_place(self, harness: Harness) -> None:
        """E7: by a release, by the end of a lease, by a consumer that leaves with it."""
        async with place(harness) as here:
            await publish(here, "a0 a1 b2")
            async with in_order(here) as one, in_order(here, harness.lease) as other:
                held = await came(one, "a0 b2")
                await one.release([held["a0"]])
                lost = await came(other, "a0")
                await harness.pass_time(harness.lease * 1.5)
                await came(one, "a0")
                late = Settlement(lost["a0"], Verb.ACK)
                assert await other.settle([late]) == [Outcome.LOST]
                await publish(here, "c3")
                await came(other, "c3")  # and not a1: who is too late frees nothing
            await emptied(here, "a0 a1 b2 c3")

    @law("E7", needs=("key_order", "dead_letter"))
    async def test_what_is_given_up_frees_what_comes_after_it(self, harness: Harness) -> None:
        """E7: with a dead letter of the same key, and without one."""
        dead = harness.topic("dead")
        async with place(harness) as here:
            await introduce(here.channel, dead, group=here.group)
            await publish(here, "a0 a1 a2")
            async with in_order(here) as feed:
                for letter in (Record(dead, b'"letter"', fresh("id"), "a"), None):
                    (leased,) = await lease(feed, 1)
                    given_up = Settlement(leased.token, Verb.REJECT, dead_letter=letter)
                    assert await feed.settle([given_up]) == [Outcome.CONFIRMED]
                await ack(feed, *(await came(feed, "a2")).values())
            await nothing_is_owed(here.channel, here.topic, here.group)
            await emptied(Place(here.channel, dead, here.group), "letter")

    @law("E7", needs=("key_order",))
    async def test_an_empty_key_is_a_key(self, harness: Harness) -> None:
        """E7: and what has no key is not of it."""
        async with place(harness) as here:
            empty = [replace(record(here, f"e{number}"), key="") for number in range(3)]
            await here.channel.layer.publish(empty)
            await publish(here, "-3 -4")
            async with in_order(here) as one, in_order(here) as other:
                held = await came(one, "e0 -3 -4")
                await publish(here, "a5")
                await ack(other, *(await came(other, "a5")).values())
                await ack(one, *held.values())
                await came(other, "e1")
            await emptied(here, "e1 e2")

    @law("E7", needs=("key_order", "nack_delay"))
    async def test_a_poison_key_stops_nobody_else(self, harness: Harness) -> None:
        """E7: with a thousand and more of its messages before all others."""
        async with place(harness) as here:
            layer = here.channel.layer
            await layer.publish([record(here, f"p{n}") for n in range(POISON)])
            async with in_order(here) as feed:
                await nack(feed, (await came(feed, "p0"))["p0"], delay=LONG)
                await publish(here, "a0 -1 a2 b3 a4")
                got: list[str] = []
                for _ in range(5):
                    (leased,) = await lease(feed, 1)
                    got.append(body_of(leased))
                    await ack(feed, leased.token)
                assert sorted(got) == ["-1", "a0", "a2", "a4", "b3"]
                assert of_key(got, "a") == ["a0", "a2", "a4"]

    @law("E7", needs=("key_order",))
    async def test_hundreds_of_keys_are_each_in_order(self, harness: Harness) -> None:
        """E7: by two consumers that settle in another order than they were given."""
        async with place(harness) as here:
            await here.channel.layer.publish(
                [record(here, f"{turn}", key=f"k{n}") for n in range(KEYS) for turn in range(3)]
            )
            seen: defaultdict[str | None, list[str]] = defaultdict(list)
            left = 3 * KEYS
            async with in_order(here) as one, in_order(here) as other:
                while left:
                    for feed in (one, other)[: 1 + (left > KEYS)]:
                        batch = await lease(feed, 1) if left == 1 else await some(feed)
                        assert len({leased.record.key for leased in batch}) == len(batch)
                        for leased in batch:
                            seen[leased.record.key].append(body_of(leased))
                        await ack(feed, *(leased.token for leased in reversed(batch)))
                        left -= len(batch)
            assert len(seen) == KEYS
            assert all(bodies == ["0", "1", "2"] for bodies in seen.values())
            await nothing_is_owed(here.channel, here.topic, here.group)

    @law("E7", needs=("key_order",))
    async def test_the_order_is_of_one_topic_and_of_one_group(self, harness: Harness) -> None:
        """E7: the same key in another topic, or for another group, is another matter."""
        topics = [harness.topic(), harness.topic()]
        groups = [harness.group(), harness.group()]
        async with opened(harness) as channel:
            for group in groups:
                await introduce(channel, *topics, group=group)
            for topic in topics:
                await publish(Place(channel, topic, ""), "a0 a1")
            for group in groups:
                async with in_order(Place(channel, topics[0], group), topics=topics) as feed:
                    for body in ("a0", "a1"):
                        held = await lease(feed, 2)
                        assert [body_of(one) for one in held] == [body] * 2
                        assert {one.record.topic for one in held} == {*topics}
                        await ack(feed, *(one.token for one in held))

    @law("E7", needs=("key_order",))
    async def test_handlers_of_a_key_never_overlap_in_two_workers(self, harness: Harness) -> None:
        """E7: some fail once; each key is handled in its order, and keys beside one another."""
        keys, each = 6, 6
        story: defaultdict[object, list[object]] = defaultdict(list)
        running: set[object] = set()
        most, failed, done = 0, set[object](), anyio.Event()

        async def handle(delivery: Delivery[int]) -> None:
            nonlocal most
            assert delivery.key not in running, "two of a key at a time"
            running.add(delivery.key)
            most = max(most, len(running))
            await anyio.sleep(0.002)
            running.discard(delivery.key)
            if delivery.body % 5 == 0 and delivery.body not in failed:
                failed.add(delivery.body)
                raise ValueError("once")
            story[delivery.key].append(delivery.body)
            if sum(map(len, story.values())) == keys * each:
                done.set()

        async def work(channel: Channel[AckLayer], here: Place) -> None:
            await channel.process(
                Topic(here.topic, int),
                handle,
                group=here.group,
                ordered_by="key",
                redelivery=Redelivery(backoff=Backoff(initial=0)),
            )

        async with place(harness) as here, opened(harness) as other:
            for number in range(keys * each):
                await here.channel.publish(here.topic, number, key=f"k{number % keys}")
            async with anyio.create_task_group() as workers:
                for channel in (here.channel, other):
                    workers.start_soon(work, channel, here)
                with anyio.fail_after(3 * soon()):
                    await done.wait()
                await anyio.sleep(0.05)  # for the last acks; what is not acked comes again below
                workers.cancel_scope.cancel()
            assert story == {f"k{k}": [*range(k, keys * each, keys)] for k in range(keys)}
            assert most > 1, "keys are handled beside one another"

    @law("E7", "C17", needs=("key_order", "persistent"), hooks=("url",))
    async def test_a_killed_process_holds_its_keys_until_its_leases_end(
        self, harness: Harness
    ) -> None:
        """E7, C17: then they come from where it was, and nothing was skipped meanwhile."""
        assert harness.url is not None
        async with place(harness) as here:
            await publish(here, "a0 a1 b2 b3")
            arguments = (harness.url, here.topic, here.group, 2)
            async with (
                child("hold-in-order", *arguments, lease=harness.lease) as process,
                in_order(here) as feed,
            ):
                await publish(here, "c4")
                await ack(feed, *(await came(feed, "c4")).values())
                await killed(process)
            await emptied(here, "a0 a1 b2 b3")


def in_order(
    here: Place, of: float = LONG, *, topics: Sequence[str] = ()
) -> AbstractAsyncContextManager[AckFeed]:
    """Return a consumer in the order of keys that nobody renews anything for."""
    layer = cast("KeyOrderedLayer", here.channel.layer)
    return layer.consume_in_key_order(
        topics or [here.topic], here.group, in_flight=100, lease=of, start=Start.EARLIEST
    )


def record(here: Place, body: str, *, key: str | None = None) -> Record:
    """Return a message; its first character is its key, and `-` is none."""
    key = key or (None if body[0] == "-" else body[0])
    return Record(
        here.topic, f'"{body}"'.encode(), fresh("id"), key, content_type="application/json"
    )


async def publish(here: Place, words: str) -> None:
    """Publish a message for each of `words`."""
    await here.channel.layer.publish([record(here, word) for word in words.split()])


async def came(feed: AckFeed, words: str) -> dict[str, Token]:
    """Return what `words` say, by their tokens; nothing else came."""
    wanted = words.split()
    held = {body_of(leased): leased.token for leased in await lease(feed, len(wanted))}
    assert sorted(held) == sorted(wanted), f"{sorted(held)} came, and not {sorted(wanted)}"
    return held


async def some(feed: AckFeed) -> Sequence[Leased]:
    """Return a batch."""
    with anyio.fail_after(soon()):
        return await feed.receive(100)


async def ack(feed: AckFeed, *tokens: Token) -> None:
    """Ack each, which is ours."""
    replies = await feed.settle([Settlement(token, Verb.ACK) for token in tokens])
    assert list(replies) == [Outcome.CONFIRMED] * len(tokens)


async def nack(feed: AckFeed, token: Token, *, delay: float = 0.0) -> None:
    """Nack what is ours."""
    assert await feed.settle([Settlement(token, Verb.NACK, delay)]) == [Outcome.CONFIRMED]


async def emptied(here: Place, words: str) -> None:
    """See that what is owed are `words`, each key in its order; settle them."""
    wanted, got = words.split(), list[str]()
    async with here.channel.subscribe(
        here.topic, group=here.group, ordered_by="key", lease=LONG
    ) as sub:
        for _ in wanted:
            (delivery,) = await receive(sub, 1)
            got.append(str(delivery.body))
            await delivery.ack()
    assert sorted(got) == sorted(wanted)
    for key in {word[0] for word in wanted}:
        assert of_key(got, key) == of_key(wanted, key)
    await nothing_is_owed(*here)


def of_key(words: Sequence[str], key: str) -> list[str]:
    """Return those of `words` that are of `key`, as they come."""
    return [word for word in words if word[0] == key]


def body_of(leased: Leased) -> str:
    """Return the body as text."""
    return leased.record.body.decode().strip('"')
