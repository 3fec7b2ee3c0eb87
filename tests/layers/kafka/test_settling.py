"""What is confirmed is kept, what was not is decided truly, and what is refused has a name."""

import random
from contextlib import suppress

import anyio
import pytest
from aiokafka.admin import NewTopic

from acked import ConnectionLost, LayerError
from acked.conformance.harness import fresh
from acked.types import Outcome, Record, Settlement, Verb
from compose.kafka.recipe import KafkaRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.kafka_kit import (
    SOON,
    ack,
    admin_of,
    bodies,
    committed_at,
    feed_of,
    layer_at,
    record,
    take,
)

pytestmark = pytest.mark.anyio


def acking(leased) -> Settlement:
    return Settlement(leased.token, Verb.ACK)


class TestUnconfirmed:
    """Row 2: settling again decides it, whatever became of the first."""

    async def test_a_second_ack_says_whether_the_first_had_worked(
        self, kafka_broker, proxy
    ) -> None:
        """The commit arrives and its answer does not, the group is joined anew."""
        topic, group, between = fresh("topic"), fresh("group"), proxy(kafka_broker)
        async with (
            layer_at(between, timeout=2.0) as layer,
            feed_of(layer, topic, group) as feed,
        ):
            await layer.publish([record(topic, i) for i in range(3)])
            zero, one, two = await take(feed, 3)
            await ack(feed, [zero])
            between.black_hole()
            (reply,) = await feed.settle([acking(one)])
            assert isinstance(reply, ConnectionLost)
            between.heal()  # what was sent arrives now
            with anyio.fail_after(2 * SOON):
                while (reply := (await feed.settle([acking(one)]))[0]) is not Outcome.CONFIRMED:
                    assert isinstance(reply, ConnectionLost)
            await ack(feed, [two])

    async def test_and_after_the_group_was_joined_anew(self, private_broker) -> None:
        """Of two that had no answer one had worked; the other comes again, and is lost here."""
        broker = private_broker("kafka")
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(broker, timeout=2.0) as layer:
            await layer.publish([record(topic, i) for i in range(3)])
            async with feed_of(layer, topic, group) as feed:
                zero, one, two = await take(feed, 3)
                broker.pause()
                replies = await feed.settle([acking(zero), acking(two)])
                assert all(isinstance(reply, ConnectionLost) for reply in replies)
                with anyio.fail_after(SOON), pytest.raises(ConnectionLost):
                    await feed.receive(1)
                await self.nobody_knows_while_it_is_joined_again(feed, [acking(zero), acking(two)])
                broker.resume()
                again: list = []
                with anyio.fail_after(2 * SOON):
                    while not again:
                        try:
                            again = list(await feed.receive(1))
                        except LayerError:
                            continue
                kept = await committed_at(broker, group)
                replies = await feed.settle([acking(zero), acking(one), acking(two)])
                if kept[topic, 0].offset == 1:  # the commit had arrived
                    assert replies == [Outcome.CONFIRMED, Outcome.LOST, Outcome.CONFIRMED]
                    assert bodies(again) == [1]
                else:
                    assert replies == [Outcome.LOST] * 3
                    assert bodies(again) == [0]

    async def nobody_knows_while_it_is_joined_again(self, feed, batch) -> None:
        """The old membership is left, and the new one not there: a lost lease would be a lie."""

        async def join() -> None:
            with suppress(LayerError):
                await feed.receive(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(join)
            with anyio.fail_after(SOON):
                while not any("again" in str(reply) for reply in await feed.settle(batch)):
                    await anyio.sleep(0.05)
                for _ in range(20):
                    replies = await feed.settle(batch)
                    assert all(isinstance(reply, ConnectionLost) for reply in replies)
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()

    async def test_a_nack_after_an_ack_that_had_worked_all_the_same_changes_nothing(
        self, kafka_broker, proxy
    ) -> None:
        topic, between = fresh("topic"), proxy(kafka_broker)
        async with (
            layer_at(between, timeout=2.0) as layer,
            feed_of(layer, topic, "g") as feed,
        ):
            await layer.publish([record(topic, i) for i in range(3)])
            zero, one, two = await take(feed, 3)
            between.black_hole()
            (reply,) = await feed.settle([acking(zero)])
            assert isinstance(reply, ConnectionLost)
            between.heal()
            with anyio.fail_after(2 * SOON):
                while await feed.settle([acking(one)]) != [Outcome.CONFIRMED]:
                    pass  # and this commit says so of the other, too
            assert await feed.settle([Settlement(zero.token, Verb.NACK)]) == [Outcome.LOST]
            await feed.release([two.token, two.token])
            assert bodies(await take(feed, 1)) == [2]

    async def test_a_nack_after_an_ack_without_answer_comes_again(
        self, kafka_broker, proxy
    ) -> None:
        topic, group, between = fresh("topic"), fresh("group"), proxy(kafka_broker)
        async with (
            layer_at(between, timeout=2.0) as layer,
            feed_of(layer, topic, group) as feed,
        ):
            await layer.publish([record(topic, 0)])
            (one,) = await take(feed, 1)
            between.black_hole()
            (reply,) = await feed.settle([acking(one)])
            assert isinstance(reply, ConnectionLost)
            assert await feed.settle([Settlement(one.token, Verb.NACK)]) == [Outcome.CONFIRMED]
            between.heal()
            (again,) = await take(feed, 1)
            assert again.attempt == 2
            with anyio.fail_after(2 * SOON):
                while (reply := (await feed.settle([acking(again)]))[0]) is not Outcome.CONFIRMED:
                    assert isinstance(reply, ConnectionLost)


class TestRefused:
    """Row 3: who refused what, and why; the message is still owed."""

    async def test_a_dead_letter_topic_that_is_missing(self, kafka_broker) -> None:
        topic, missing = fresh("topic"), fresh("missing")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
        async with layer_at(kafka_broker, create_topics=None) as layer:
            async with feed_of(layer, topic, "g") as feed:
                (one,) = await take(feed, 1)
                letter = record(missing, 0)
                (reply,) = await feed.settle(
                    [Settlement(one.token, Verb.REJECT, dead_letter=letter)]
                )
                assert isinstance(reply, LayerError)
                assert not isinstance(reply, ConnectionLost)
                assert missing in str(reply)
                assert "create" in str(reply)
                await ack(feed, [one])

    async def test_a_dead_letter_that_is_too_large_for_its_topic(self, kafka_broker) -> None:
        """Nothing of it fits, not even where it came from: the broker's no is told."""
        topic, small = fresh("topic"), fresh("small")
        async with admin_of(kafka_broker) as admin:
            settings = {"max.message.bytes": "1"}
            await admin.create_topics([NewTopic(small, 1, 1, topic_configs=settings)])
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, 0)])
            (one,) = await take(feed, 1)
            letter = Record(small, b"x" * 100, "id", headers={"acked-reason": "r", "mine": "m"})
            reject = Settlement(one.token, Verb.REJECT, dead_letter=letter)
            (reply,) = await feed.settle([reject])
            assert isinstance(reply, LayerError)
            assert not isinstance(reply, ConnectionLost)
            assert "TooLarge" in str(reply)
            assert reply.__cause__ is not None
            await ack(feed, [one])


class TestRoom:
    """Row 24: an ack that is confirmed holds, however little there is room for."""

    async def test_with_much_more_in_flight_than_there_is_room_for(self, kafka_broker) -> None:
        """Gaps between all that is unsettled; each ack is confirmed, and survives a restart."""
        topic, group, count = fresh("topic"), fresh("group"), 12_000
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, i) for i in range(count)])
            asked, confirmed = await self.ack_every_second(layer, topic, group, count, count)
            assert asked == confirmed, "what could not be kept was not read"
            assert len(confirmed) >= 1000
            await self.nothing_of_it_comes_again(layer, topic, group, count, confirmed)

    @pytest.mark.parametrize("limit", [0, 18, 100])
    async def test_whatever_the_brokers_limit_is(self, limit: int) -> None:
        broker = NativeBroker(KafkaRecipe(heap=384, more=(f"offset.metadata.max.bytes={limit}",)))
        or_skip("kafka", broker.start)
        try:
            topic, group, count = fresh("topic"), fresh("group"), 400
            async with layer_at(broker) as layer:
                await layer.publish([record(topic, i) for i in range(count)])
                _, confirmed = await self.ack_every_second(layer, topic, group, count, 200)
                await self.nothing_of_it_comes_again(layer, topic, group, count, confirmed)
            async with layer_at(broker) as layer:  # it does not know the limit yet
                await self.what_is_said_to_be_removed_is(layer, topic, count)
        finally:
            broker.close()

    async def ack_every_second(
        self, layer, topic: str, group: str, count: int, in_flight: int
    ) -> tuple[set[int], set[int]]:
        """Ack those of an odd number, in any order, until nothing more comes; then leave.

        Return them, and those that were confirmed.
        """
        dice, asked, confirmed, held = random.Random(7), set[int](), set[int](), []
        async with feed_of(layer, topic, group, in_flight=in_flight) as feed:
            while True:
                with anyio.move_on_after(1.5):
                    got = await feed.receive(count)
                    held += got
                    odd = [one for one in got if int(one.record.body) % 2]
                    dice.shuffle(odd)
                    asked.update(bodies(odd))
                    for start in range(0, len(odd), 100):
                        members = odd[start : start + 100]
                        replies = await feed.settle(list(map(acking, members)))
                        for one, reply in zip(members, replies, strict=True):
                            if reply is Outcome.CONFIRMED:
                                confirmed.add(int(one.record.body))
                            else:
                                assert isinstance(reply, LayerError)
                                assert "offset.metadata.max.bytes" in str(reply)
                    continue
                return asked, confirmed

    async def nothing_of_it_comes_again(
        self, layer, topic: str, group: str, count: int, confirmed: set[int]
    ) -> None:
        async with feed_of(layer, topic, group) as feed:
            seen: set[int] = set()
            with anyio.fail_after(60):
                while count - 1 not in seen | confirmed or len(seen) < count - len(confirmed):
                    got = await feed.receive(500)
                    seen.update(bodies(got))
                    await ack(feed, got)
            assert not seen & confirmed
            assert seen | confirmed == set(range(count))

    async def what_is_said_to_be_removed_is(self, layer, topic: str, count: int) -> None:
        """And the rest is still shown, and nobody is told of an error."""
        gone = set[str]()
        first = [f"0:{n}" for n in range(4)]
        for asked in (["0:3"], ["0:5"], [f"0:{count - 1}"], ["0:9", "0:7"], first):
            done = await layer.remove(topic, asked)
            gone.update(position for position, is_done in zip(asked, done, strict=True) if is_done)
            shown = {one.position async for page in layer.browse(topic) for one in page}
            assert shown == {f"0:{n}" for n in range(count)} - gone
        assert gone.issuperset(first), "it takes no room"


class TestOrder:
    """Row 31: what was nacked comes back in the order of the log."""

    @pytest.mark.parametrize("delay", [0.0, 0.3])
    @pytest.mark.parametrize("at_once", [True, False])
    async def test_nacked_messages_come_back_in_their_order(
        self, kafka_broker, delay: float, *, at_once: bool
    ) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, i) for i in range(8)])
            six = await take(feed, 6)
            nacks = [Settlement(one.token, Verb.NACK, delay=delay) for one in six]
            for batch in [nacks] if at_once else [[nack] for nack in nacks]:
                assert set(await feed.settle(batch)) == {Outcome.CONFIRMED}
            if delay:
                await ack(feed, await take(feed, 2))
                await anyio.sleep(2 * delay)
            again = await take(feed, 6)
            assert bodies(again) == list(range(6))
            await ack(feed, again)

    async def test_what_is_given_back_comes_before_what_was_not_delivered(
        self, kafka_broker
    ) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, i) for i in range(6)])
            four = await take(feed, 4)
            await feed.release([four[3].token, four[1].token])
            await feed.settle([Settlement(four[2].token, Verb.NACK)])
            assert bodies(await take(feed, 5)) == [1, 2, 3, 4, 5]
