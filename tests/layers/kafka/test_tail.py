"""Kafka as news: one consumer for all topics, without any group."""

from contextlib import AsyncExitStack

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition

from acked import Stream
from acked.conformance.harness import fresh
from acked.errors import ChannelClosed, ConnectionLost, LayerError, PublishFailed
from acked.layers.kafka import KafkaTail
from acked.types import GapCause, Record
from compose.lifecycle import Broker
from tests.fix_proxy import Proxies
from tests.layers.kafka.test_changing_topics import make_anew, produced
from tests.layers.kafka.test_wire import produce_with_names
from tests.layers.kafka_kit import SOON, producer_of, record

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tail_at(url: str, **options) -> KafkaTail:
    return KafkaTail.from_url(f"{url}?create_topics=1&timeout=3", **options)


def sink() -> Stream[Record]:
    return Stream(1000)


async def heard(stream: Stream[Record], count: int) -> list[str]:
    with anyio.fail_after(SOON):
        found: list[str] = []
        while len(found) < count and await stream.ready():
            found.append(stream.take()[0].body.decode())
    return found


async def test_many_topics_are_heard_on_few_connections_and_by_no_group(
    kafka_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(kafka_broker)
    topics = [fresh("topic") for _ in range(30)]
    streams = {topic: sink() for topic in topics}
    async with tail_at(way.url) as tail, AsyncExitStack() as listening:
        for topic, stream in streams.items():
            await tail.publish([record(topic, "before")])
            await listening.enter_async_context(tail.listen([topic], stream))
        for topic in topics:
            await tail.publish([record(topic, topic)])
        for topic, stream in streams.items():
            assert await heard(stream, 1) == [topic]
        assert way.statistics().open_connections <= 6
    assert not [group for group in await _groups(kafka_broker) if "acked-news" in group]


async def test_who_listens_and_leaves_disturbs_nobody(kafka_broker: Broker) -> None:
    stays, goes, stream = fresh("stays"), fresh("goes"), sink()
    async with tail_at(kafka_broker.url) as tail, tail.listen([stays], stream):
        for n in range(5):
            await tail.publish([record(stays, n)])
            other = sink()
            async with tail.listen([goes, stays], other):
                await tail.publish([record(goes, n)])
                assert await heard(other, 1) == [str(n)]
        assert await heard(stream, 5) == ["0", "1", "2", "3", "4"]
        assert not stream.buffer.items


async def test_a_partition_that_is_added_is_heard_from_its_first_record(
    kafka_broker: Broker,
) -> None:
    topic, stream = fresh("topic"), sink()
    async with tail_at(kafka_broker.url) as tail, tail.listen([topic], stream):
        async with Admin(kafka_broker) as admin:
            await admin.create_partitions({topic: NewPartitions(2)})
        async with producer_of(kafka_broker, metadata_max_age_ms=100) as producer:
            with anyio.fail_after(SOON):
                while len(await producer.partitions_for(topic)) < 2:
                    await anyio.sleep(0.05)
            await producer.send_and_wait(topic, b"there", partition=1)
        assert await heard(stream, 1) == ["there"]


async def test_records_that_were_deleted_unread_are_a_gap(
    kafka_broker: Broker, proxy: Proxies
) -> None:
    way, topic, stream = proxy(kafka_broker), fresh("topic"), sink()
    place = TopicPartition(topic, 0)
    async with tail_at(way.url) as tail, tail.listen([topic], stream):
        await tail.publish([record(topic, "seen")])
        assert await heard(stream, 1) == ["seen"]
        way.refuse()
        way.cut()
        async with producer_of(kafka_broker) as producer, Admin(kafka_broker) as admin:
            for _ in range(3):
                await producer.send_and_wait(topic, b"deleted")
            await admin.delete_records({place: RecordsToDelete(before_offset=4)})
            way.accept()
            with anyio.fail_after(SOON):
                while not stream.told:
                    await anyio.sleep(0.05)
            await producer.send_and_wait(topic, b"after")
        with anyio.fail_after(SOON):
            assert await stream.ready()
        found, gap = stream.take()
        assert found.body == b"after"
        assert gap is not None
        assert (gap.missed, gap.causes) == (3, {GapCause.BROKER})


async def test_a_topic_that_is_made_anew_at_once_is_heard_from_its_first_record(
    kafka_broker: Broker,
) -> None:
    """It has more than was heard of the old one before anybody looks: only its id tells."""
    topic, stream = fresh("topic"), sink()
    async with tail_at(kafka_broker.url) as tail, tail.listen([topic], stream):
        await tail.publish([record(topic, "old")])
        assert await heard(stream, 1) == ["old"]
        await make_anew(kafka_broker, topic, after=0.0)
        await produced(kafka_broker, topic, range(50))
        found: list[str] = []
        with anyio.fail_after(SOON):
            while not {str(n) for n in range(50)} <= set(found):
                assert await stream.ready()
                found.append(stream.take()[0].body.decode())
    assert stream.unknown_gaps >= 1  # twice, where it was missed before it was another one


async def test_a_header_whose_name_is_no_text_ends_nothing(kafka_broker: Broker) -> None:
    topic, stream = fresh("topic"), sink()
    async with tail_at(kafka_broker.url) as tail, tail.listen([topic], stream):
        await produce_with_names(kafka_broker, topic, [b"\xff"])
        await tail.publish([record(topic, "after")])
        assert (await heard(stream, 2))[1] == "after"


async def test_a_silent_cluster_is_told_to_who_does_not_reconnect(
    kafka_broker: Broker, proxy: Proxies
) -> None:
    way, stream = proxy(kafka_broker), sink()
    async with tail_at(way.url, on_loss="raise") as tail, tail.listen([fresh("topic")], stream):
        way.black_hole()
        with anyio.fail_after(SOON):
            assert not await stream.ready()
        assert isinstance(stream.failure, ConnectionLost)
        way.heal()


async def test_a_silent_cluster_is_tried_again_and_told_in_the_log(
    kafka_broker: Broker, proxy: Proxies, caplog: pytest.LogCaptureFixture
) -> None:
    way, topic, stream = proxy(kafka_broker), fresh("topic"), sink()
    async with tail_at(way.url) as tail, tail.listen([topic], stream):
        way.black_hole()
        with anyio.fail_after(SOON):
            while "it is tried again" not in caplog.text:
                await anyio.sleep(0.05)
        async with producer_of(kafka_broker) as producer:
            await producer.send_and_wait(topic, b"meanwhile")
        way.heal()
        assert await heard(stream, 1) == ["meanwhile"]


async def test_who_listens_again_after_everybody_left_hears_what_is_new(
    kafka_broker: Broker,
) -> None:
    topic = fresh("topic")
    async with tail_at(kafka_broker.url) as tail:
        for n in range(3):
            stream = sink()
            async with tail.listen([topic], stream):
                await tail.publish([record(topic, n)])
                assert await heard(stream, 1) == [str(n)]
            await tail.publish([record(topic, "nobody listens")])


async def test_what_the_broker_refuses_is_an_error_of_the_publisher(kafka_broker: Broker) -> None:
    """And a tail that nobody listened to is left as any other, also twice."""
    topic = fresh("topic")
    async with tail_at(kafka_broker.url) as tail:
        with pytest.raises(PublishFailed, match="TooLarge"):
            await tail.publish([Record(topic, bytes(2_000_000), "big")])
    await tail.__aexit__(None, None, None)


async def test_what_cannot_be_read_is_told_to_all_who_listen(
    kafka_broker: Broker, proxy: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, topic, one, two = proxy(kafka_broker), fresh("topic"), sink(), sink()
    async with tail_at(way.url) as tail, tail.listen([topic], one), tail.listen([topic], two):
        way.black_hole()
        async with producer_of(kafka_broker, compression_type="zstd") as producer:
            await producer.send_and_wait(topic, b"1" * 1000)
        monkeypatch.setattr("aiokafka.codec.cramjam", None)
        way.heal()
        for stream in (one, two):
            with anyio.fail_after(SOON):
                assert not await stream.ready()
            assert isinstance(stream.failure, LayerError)
            assert "acked[kafka]" in str(stream.failure)


async def test_what_is_not_entered_says_so(kafka_broker: Broker) -> None:
    tail = tail_at(kafka_broker.url)
    assert "password" not in repr(tail)
    with pytest.raises(ChannelClosed, match="enter it first"):
        await tail.publish([record("topic", 1)])


class Admin:
    def __init__(self, broker: Broker) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=broker.url.removeprefix("kafka://"))

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()


async def _groups(broker: Broker) -> list[str]:
    async with Admin(broker) as admin:
        return [name for name, _ in await admin.list_consumer_groups()]
