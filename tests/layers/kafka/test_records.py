"""Records on Kafka: as they were, of other clients, too large."""

import json

import anyio
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st

from acked import Channel, PublishFailed, Redelivery, Topic
from acked.codecs import JSON, MSGPACK
from acked.conformance.harness import fresh
from acked.layers.kafka._repeated import as_mapping, as_pairs
from acked.types import Record
from tests.layers.kafka_kit import SOON, bodies, feed_of, layer_at, producer_of, record, take

pytestmark = pytest.mark.anyio


class TestRecords:
    async def test_a_record_arrives_as_it_was(self, kafka_broker) -> None:
        """A1, A3, A4: headers of the names that dead letters use included."""
        topic = fresh("topic")
        headers = {"acked-id": "x", "acked-timestamp": "y", "leer": "", "ü": "🎉"}
        sent = [
            record(topic, 1, headers=headers, key="schlüssel", content_type="text/plain"),
            Record(topic, b"\x00\xff", "a"),
            Record(topic, b"", "b", timestamp=0.1, key=""),
            Record(topic, bytes(1_000_000), "c"),
        ]
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            receipts = await layer.publish(sent)
            got = await take(feed, 4)
            assert [one.record for one in got] == sent
            assert [one.position for one in got] == [receipt.position for receipt in receipts]

    async def test_a_record_of_another_client_arrives(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            async with producer_of(kafka_broker) as producer:
                headers = [("a", b"1"), ("a", b"\xff")]
                await producer.send_and_wait(topic, None, b"k", headers=headers, timestamp_ms=2500)
            (leased,) = await take(feed, 1)
            headers = {"a": "\udcff", "kafka-repeated": '[["a", "1"]]'}
            assert leased.record == Record(topic, b"", f"{topic}/0/0", "k", headers, timestamp=2.5)

    async def test_a_record_in_our_form_with_odd_bytes_arrives(self, kafka_broker) -> None:
        """What is no number is Kafka's own timestamp; what is no UTF-8 leaves as it came."""
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            async with producer_of(kafka_broker) as producer:
                ours = [
                    ("acked-id", b"\xff"),
                    ("acked-content-type", b"t"),
                    ("acked-timestamp", b"?"),
                ]
                more = [*ours, ("a", b"1")]
                await producer.send_and_wait(topic, b"x", headers=more, timestamp_ms=2500)
                named = [("acked-id", b"x"), ("b", b"y")]
                await producer.send_and_wait(topic, b"z", headers=named, timestamp_ms=2500)
            first, second = await take(feed, 2)
            assert first.record == Record(
                topic, b"x", "\udcff", None, {"a": "1"}, "t", timestamp=2.5
            )
            assert second.record == Record(
                topic, b"z", f"{topic}/0/1", None, {"acked-id": "x", "b": "y"}, timestamp=2.5
            )

    async def test_a_record_that_is_too_large_fails_alone(self, kafka_broker) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            big = Record(topic, bytes(2_000_000), "big")
            with pytest.raises(PublishFailed, match="1 of 3") as caught:
                await layer.publish([record(topic, 0), big, record(topic, 1)])
            assert set(caught.value.failures) == {1}
            assert not caught.value.indeterminate
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 2)) == [0, 1]

    async def test_a_record_the_broker_refuses_does_not_spoil_what_comes_after(
        self, kafka_broker
    ) -> None:
        """A10: aiokafka's idempotent producer would be of no use for that partition any more."""
        topic = fresh("topic")
        at = kafka_broker.url.removeprefix("kafka://")
        admin = AIOKafkaAdminClient(bootstrap_servers=at)
        await admin.start()
        await admin.create_topics(
            [NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "900"})]
        )
        await admin.close()
        async with layer_at(kafka_broker) as layer:
            for _ in range(2):
                with pytest.raises(PublishFailed) as caught:
                    await layer.publish([Record(topic, bytes(2000), "big")])
                assert not caught.value.indeterminate
                await layer.publish([record(topic, 0)])
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 2)) == [0, 0]


async def test_the_first_records_of_several_publishers_are_sent_at_once(kafka_broker) -> None:
    topic = fresh("topic")
    async with layer_at(kafka_broker) as layer:
        assert list(await layer.publish([])) == []
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(layer.publish, [record(topic, number)])
        async with feed_of(layer, topic, "g") as feed:
            assert sorted(bodies(await take(feed, 4))) == [0, 1, 2, 3]


REPEATED = [("x", b"1"), ("y", b""), ("x", b"\xff"), ("x", b"3"), ("y", b"last")]


class TestRepeatedHeaders:
    """Row 28: a mapping has one value for a name; the others are not lost."""

    async def test_they_arrive_are_forwarded_and_are_in_the_dead_letter(self, kafka_broker) -> None:
        topic, copies, dead = (fresh(name) for name in ("topic", "copies", "dead"))
        redelivery = Redelivery(dead_letter=dead)
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, 0)
            async with producer_of(kafka_broker) as producer:
                await producer.send_and_wait(topic, b"1", headers=REPEATED)
            async with channel.subscribe(topic, group="g", redelivery=redelivery) as sub:
                with anyio.fail_after(SOON):
                    await (await anext(sub)).ack()
                    delivery = await anext(sub)
                assert {name: delivery.headers[name] for name in "xy"} == {"x": "3", "y": "last"}
                await channel.publish(copies, 1, headers={**delivery.headers, "y": "mine"})
                await delivery.reject("no")
        assert await written(kafka_broker, copies, "xy") == [*REPEATED[:-1], ("y", b"mine")]
        assert await written(kafka_broker, dead, "xy") == REPEATED

    @given(
        st.dictionaries(st.sampled_from(["a", "b", "kafka-repeated"]), st.text(max_size=3)),
        st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=3))),
    )
    def test_what_is_published_is_what_is_received(self, headers, earlier) -> None:
        """Whatever the header says, and whoever wrote it."""
        said = headers | {"kafka-repeated": json.dumps(earlier)} if earlier else headers
        assert as_mapping(as_pairs(said)) == said

    @pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[1]", '[["a"]]', '[["a", 1]]', "null"])
    def test_a_header_of_that_name_from_elsewhere_is_a_header(self, text) -> None:
        headers = {"kafka-repeated": text, "a": "1"}
        assert dict(as_pairs(headers)) == headers


async def written(broker, topic: str, names: str) -> list[tuple[str, bytes]]:
    """Return the headers of these names of the first record of `topic`, as another client has them.

    By name, for only the order of one name's is kept.
    """
    at = broker.url.removeprefix("kafka://")
    plain = AIOKafkaConsumer(topic, bootstrap_servers=at, auto_offset_reset="earliest")
    await plain.start()
    try:
        with anyio.fail_after(SOON):
            headers = (await plain.getone()).headers
    finally:
        await plain.stop()
    return [(name, value) for name, value in headers if name in names]


class TestTombstones:
    """Row 28: a null value is None, both ways."""

    async def test_a_tombstone_of_another_client_is_none(self, kafka_broker) -> None:
        topic = Topic(fresh("topic"), dict[str, int] | None)
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, {"stock": 3}, key="shoe")
            async with producer_of(kafka_broker) as producer:
                await producer.send_and_wait(topic.name, None, b"shoe")
            async with channel.subscribe(topic, group="g") as sub:
                with anyio.fail_after(SOON):
                    first, second = await anext(sub), await anext(sub)
                assert (first.body, first.key) == ({"stock": 3}, "shoe")
                assert (second.body, second.key) == (None, "shoe")
                await first.ack()
                await second.ack()

    @pytest.mark.parametrize("codec", [JSON, MSGPACK])
    async def test_none_is_published_as_a_tombstone_and_arrives(self, kafka_broker, codec) -> None:
        topic = Topic(fresh("topic"), dict[str, int] | None, codec=codec)
        at = kafka_broker.url.removeprefix("kafka://")
        async with Channel(layer_at(kafka_broker)) as channel:
            await channel.publish(topic, None, key="shoe")
            async with channel.subscribe(topic, group="g") as sub:
                with anyio.fail_after(SOON):
                    delivery = await anext(sub)
                assert (delivery.body, delivery.key) == (None, "shoe")
                await delivery.ack()
        plain = AIOKafkaConsumer(topic.name, bootstrap_servers=at, auto_offset_reset="earliest")
        await plain.start()
        try:
            with anyio.fail_after(SOON):
                assert (await plain.getone()).value is None
        finally:
            await plain.stop()

    async def test_what_is_not_none_is_as_it_was(self, kafka_broker) -> None:
        """Empty bytes stay bytes, and records are equal, null or not."""
        topic = fresh("topic")
        kinds = ("application/json", "application/msgpack", "text/plain", "")
        sent = [
            Record(topic, body, fresh("id"), key, content_type=kind)
            for key in (None, "k")
            for kind in kinds
            for body in (b"", b"null", b"\xc0", b"x")
        ]
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish(sent)
            assert [one.record for one in await take(feed, len(sent))] == sent
