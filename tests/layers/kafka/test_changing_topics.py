"""Topics that change under a live layer: deleted, made anew, grown, with marks of transactions."""

import anyio
import pytest
from aiokafka.admin import NewPartitions, NewTopic

from acked import LayerError, PublishFailed, Start
from acked.conformance.harness import fresh
from acked.types import Outcome, Settlement, Verb
from tests.layers.kafka_kit import (
    SOON,
    ack,
    admin_of,
    bodies,
    committed_at,
    feed_of,
    layer_at,
    producer_of,
    record,
    take,
)

pytestmark = pytest.mark.anyio

ORIGINS = [Start.EARLIEST, Start.LATEST]
READ_ON = 10.0
"""Seconds from the making of a topic to its last record: one or two, on a machine at rest."""


async def make_anew(broker, topic: str, *, partitions: int = 1, after: float = 7.0) -> None:
    """Delete `topic`, wait until members have noticed, and make it again."""
    async with admin_of(broker) as admin:
        await admin.delete_topics([topic])
        await anyio.sleep(after)  # by default longer than metadata is taken for fresh
        with anyio.fail_after(SOON):
            while True:
                reply = await admin.create_topics([NewTopic(topic, partitions, 1)])
                if not any(code for _, code, *_ in reply.topic_errors):
                    return
                await anyio.sleep(0.05)


async def produced(broker, topic: str, values, partition: int = 0) -> None:
    async with producer_of(broker) as producer:
        for value in values:
            await producer.send_and_wait(topic, b"%d" % value, partition=partition)


async def read_until(feed, wanted: set[int]) -> list[int]:
    """Take and ack until `wanted` is settled; what may pass is passed over."""
    got: list[int] = []
    with anyio.fail_after(3 * SOON):
        while not wanted <= set(got):
            try:
                leased = await feed.receive(100)
            except LayerError as error:
                if not error.may_pass:
                    raise
                continue
            replies = await feed.settle([Settlement(one.token, Verb.ACK) for one in leased])
            settled = zip(bodies(leased), replies, strict=True)
            got += [body for body, reply in settled if reply is Outcome.CONFIRMED]
    return got


class TestMadeAnew:
    @pytest.mark.parametrize("start", ORIGINS)
    async def test_one_of_two_topics_made_anew_is_read_from_its_first_record(
        self, kafka_broker, caplog, start
    ) -> None:
        """Row 20: where the group had begun before says nothing about the new log."""
        one, two, group = fresh("one"), fresh("two"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(name, 0) for name in (one, two) for _ in range(100)])
            subscribed = layer.consume([one, two], group, in_flight=500, lease=60.0, start=start)
            async with subscribed as feed:
                await layer.publish([record(one, 1), record(two, 1)])
                await read_until(feed, {1})
                await make_anew(kafka_broker, two)
                with anyio.fail_after(READ_ON):
                    await produced(kafka_broker, two, range(1000, 1150))
                    got = await read_until(feed, {1149})
                assert [number for number in got if number >= 1000] == list(range(1000, 1150))
        assert "knows no topic" in caplog.text

    async def test_one_of_two_that_was_made_anew_unnoticed_is_read_from_its_first_record(
        self, kafka_broker, proxy, caplog
    ) -> None:
        """It has more than was read of the old one before anybody hears of it: its id tells."""
        way, one, two, group = proxy(kafka_broker), fresh("one"), fresh("two"), fresh("group")
        async with layer_at(way) as layer:
            await layer.publish([record(name, 0) for name in (one, two) for _ in range(20)])
            async with layer.consume(
                [one, two], group, in_flight=500, lease=60.0, start=Start.EARLIEST
            ) as feed:
                taken = await take(feed, 40)
                held = {leased.record.topic: leased for leased in taken}
                await ack(feed, [leased for leased in taken if leased not in held.values()])
                way.black_hole()
                await make_anew(kafka_broker, two, after=0.0)
                await produced(kafka_broker, two, range(1000, 1150))
                way.heal()
                await layer.publish([record(one, 1)])
                with anyio.fail_after(10.0):
                    got = await read_until(feed, {1, *range(1000, 1150)})
                assert got.count(1) == 1
                acks = [Settlement(held[name].token, Verb.ACK) for name in (one, two)]
                assert await feed.settle(acks) == [Outcome.CONFIRMED, Outcome.LOST]
        assert f"of topic {two!r} is another one" in caplog.text
        assert f"of topic {one!r} is another one" not in caplog.text

    async def test_one_that_was_paused_is_read_on_when_it_was_made_anew(
        self, kafka_broker, proxy, monkeypatch
    ) -> None:
        monkeypatch.setattr("acked.layers.kafka._reader.PAUSE_AT", 30)
        way, topic = proxy(kafka_broker), fresh("topic")
        async with layer_at(way) as layer, feed_of(layer, topic, fresh("group")) as feed:
            await layer.publish([record(topic, i) for i in range(100)])
            await take(feed, 100)  # and settle none: no more of it is read
            way.black_hole()
            await make_anew(kafka_broker, topic, after=0.0)
            await produced(kafka_broker, topic, range(1000, 1020))
            way.heal()
            assert await read_until(feed, {1019}) == list(range(1000, 1020))

    @pytest.mark.parametrize("start", ORIGINS)
    async def test_the_only_topic_made_anew_is_read_from_its_first_record(
        self, kafka_broker, start
    ) -> None:
        """A brother: the group is joined anew, and `start` was for its first time."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0) for _ in range(100)])
            async with feed_of(layer, topic, group, start=start) as feed:
                await layer.publish([record(topic, 1)])
                await read_until(feed, {1})
                await make_anew(kafka_broker, topic)
                await produced(kafka_broker, topic, range(1000, 1150))
                assert await read_until(feed, {1149}) == list(range(1000, 1150))

    async def test_one_made_anew_with_fewer_partitions_is_read_on(self, kafka_broker) -> None:
        """Row 26: what was known of it is asked for again, by consumers and publishers."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=3) as layer:
            await layer.publish([record(topic, 0) for _ in range(10)])
            async with feed_of(layer, topic, group) as feed:
                await ack(feed, await take(feed, 10))
                await make_anew(kafka_broker, topic, partitions=1)
                await produced(kafka_broker, topic, range(5))
                assert await read_until(feed, {4}) == list(range(5))
                await layer.publish([record(topic, 5)])
                assert await read_until(feed, {5}) == [5]
            async with feed_of(layer, topic, fresh("other")) as feed:
                assert bodies(await take(feed, 6)) == list(range(6))
            await layer.check()

    async def test_check_neither_fails_for_one_that_was_deleted_nor_makes_it(
        self, kafka_broker
    ) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, fresh("group")) as feed:
                await ack(feed, await take(feed, 1))
            async with admin_of(kafka_broker) as admin:
                await admin.delete_topics([topic])
                await anyio.sleep(0.5)
                assert len(await layer.check()) > 5
                assert topic not in await admin.list_topics()

    async def test_what_is_published_to_one_that_was_deleted_fails_but_once(
        self, kafka_broker
    ) -> None:
        """What aiokafka has sent finds no leader any more: it was told of as a lost connection."""
        topic = fresh("topic")
        async with layer_at(kafka_broker, timeout=2.0) as layer:
            await layer.publish([record(topic, 0)])
            async with admin_of(kafka_broker) as admin:
                await admin.delete_topics([topic])
            with pytest.raises(PublishFailed):
                await layer.publish([record(topic, 1)])
            await layer.publish([record(topic, 2)])
            async with feed_of(layer, topic, fresh("group")) as feed:
                assert bodies(await take(feed, 1)) == [2]

    async def test_one_that_was_deleted_is_made_again_by_who_may(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with admin_of(kafka_broker) as admin:
                await admin.delete_topics([topic])
            async with feed_of(layer, topic, fresh("group")) as feed:
                await produced(kafka_broker, topic, [7])
                assert bodies(await take(feed, 1)) == [7]


class TestGrown:
    async def test_a_new_group_at_the_latest_gets_nothing_old_of_added_partitions(
        self, kafka_broker
    ) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, fresh("first")) as feed:
                await ack(feed, await take(feed, 1))
            async with admin_of(kafka_broker) as admin:
                await admin.create_partitions({topic: NewPartitions(2)})
            await anyio.sleep(0.5)
            await produced(kafka_broker, topic, range(10), partition=1)
            async with feed_of(layer, topic, fresh("second"), start=Start.LATEST) as feed:
                await produced(kafka_broker, topic, [100], partition=1)
                assert bodies(await take(feed, 1)) == [100]


class TestProgress:
    """Row 25."""

    async def test_behind_the_last_mark_of_a_transaction_the_commit_reaches_the_end(
        self, kafka_broker
    ) -> None:
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with producer_of(kafka_broker, transactional_id=fresh("tx")) as producer:
                async with producer.transaction():
                    await producer.send_and_wait(topic, b"1")
            async with feed_of(layer, topic, group) as feed:
                await ack(feed, await take(feed, 2))
                with anyio.fail_after(SOON):
                    while (await committed_at(kafka_broker, group))[topic, 0].offset < 3:
                        await anyio.sleep(0.1)
                async with producer_of(kafka_broker, transactional_id=fresh("tx")) as producer:
                    await producer.begin_transaction()
                    await producer.send_and_wait(topic, b"nobody sees this")
                    await producer.abort_transaction()
                with anyio.fail_after(SOON):
                    while (await committed_at(kafka_broker, group))[topic, 0].offset < 5:
                        await anyio.sleep(0.1)
                assert feed.lag() == 0

    async def test_what_hangs_in_a_transaction_is_lag(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, 0)])
            async with producer_of(kafka_broker, transactional_id=fresh("tx")) as producer:
                await producer.begin_transaction()
                for number in range(1, 5):
                    await producer.send_and_wait(topic, b"%d" % number)
                await ack(feed, await take(feed, 1))
                with anyio.fail_after(SOON):
                    while feed.lag() != 4:
                        await anyio.sleep(0.05)
                await producer.commit_transaction()
            await ack(feed, await take(feed, 4))

    async def test_lag_grows_while_the_window_is_full(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g", in_flight=5) as feed:
            await layer.publish([record(topic, i) for i in range(5)])
            held = await take(feed, 5)
            for count in (100, 200):
                await layer.publish([record(topic, 1) for _ in range(100)])
                with anyio.fail_after(SOON):
                    while feed.lag() != count:
                        await anyio.sleep(0.05)
            await ack(feed, held)

    async def test_one_message_held_for_ever_is_told_before_its_partition_stops(
        self, kafka_broker, caplog, monkeypatch
    ) -> None:
        """And once it is settled, reading goes on."""
        monkeypatch.setattr("acked.layers.kafka._reader.PAUSE_AT", 300)
        monkeypatch.setattr("acked.layers.kafka._reader.PAUSED_LONG", 0.5)
        topic, total = fresh("topic"), 2000
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, i) for i in range(total)])
            (held,) = await take(feed, 1)
            acked = 0
            with anyio.move_on_after(3.0):
                while True:
                    got = await feed.receive(100)
                    await ack(feed, got)
                    acked += len(got)
            assert 300 <= acked < 1000
            assert caplog.text.count("is not read on") == 1
            assert "offset 0" in caplog.text
            await ack(feed, [held])
            while acked < total - 1:
                got = await take(feed, 1)
                await ack(feed, got)
                acked += len(got)

    @pytest.mark.parametrize("others", [0, 1])
    async def test_what_was_paused_is_read_on_as_soon_as_it_is_settled(
        self, kafka_broker, monkeypatch, others: int
    ) -> None:
        """Not when a read that cannot bring anything is over: with, and without, idle partitions.

        Who acks while reading is paused all the time: each pause cost 200 ms, four fifths of all.
        """
        monkeypatch.setattr("acked.layers.kafka._reader.PAUSE_AT", 300)
        topic, total = fresh("topic"), 2000
        layer = layer_at(kafka_broker, create_topics=1 + others)
        async with layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, i, key="one") for i in range(total)])
            monkeypatch.setattr("acked.layers.kafka._reader.WAIT", 1000 * 2 * SOON)
            monkeypatch.setattr("acked.layers.kafka._reader.IDLE", 2 * SOON)
            with anyio.fail_after(SOON):
                for _ in range(0, total, 500):
                    await ack(feed, await take(feed, 500))
