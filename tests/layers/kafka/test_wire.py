"""Whatever is on the wire, a consumer goes on; and what is published arrives, or fails alone."""

import resource
import sys

import anyio
import pytest
from aiokafka.admin import NewTopic
from hypothesis import given, settings
from hypothesis import strategies as st

from acked import Channel, LayerError, PublishFailed, Redelivery
from acked.conformance.harness import fresh
from acked.layers.kafka import _unpacking as unpacking
from acked.layers.kafka._lenient import LenientRecords
from acked.layers.kafka._partition import Partition, Position
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._records import leased_first
from acked.types import Outcome, Record, Settlement, Verb
from tests.layers.kafka_kit import (
    SOON,
    ack,
    admin_of,
    bodies,
    feed_of,
    layer_at,
    producer_of,
    record,
    take,
)

pytestmark = pytest.mark.anyio


class _Raw(str):
    """A header's name that is written as it is, UTF-8 or not."""

    __slots__ = ("raw",)

    def __new__(cls, raw: bytes):
        made = super().__new__(cls, raw.decode("utf-8", "surrogateescape"))
        made.raw = raw
        return made

    def encode(self, *_: object) -> bytes:
        return self.raw


async def topic_taking(broker, size: int) -> str:
    topic = fresh("topic")
    async with admin_of(broker) as admin:
        settings_ = {"max.message.bytes": str(size)}
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings_)])
    return topic


async def produce_with_names(broker, topic: str, names: list[bytes | None]) -> None:
    """Produce one record for each of `names`: its body the position, the name that of a header."""
    from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

    async with producer_of(broker) as producer:
        await producer.partitions_for(topic)
        for number, name in enumerate(names):
            batch = producer.create_batch()
            batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 16384)
            headers = [] if name is None else [(_Raw(name), b"v")]
            batch.append(key=None, value=b"%d" % number, timestamp=None, headers=headers)
            batch.close()
            await (await producer.send_batch(batch, topic, partition=0))


class TestOddRecords:
    async def test_names_of_headers_that_are_no_utf_8_arrive(
        self, kafka_broker, monkeypatch
    ) -> None:
        """Between others, none of which is missed; and again after a restart of the consumer."""
        monkeypatch.setattr("acked.layers.kafka._lenient.SECONDS", 0.1)
        topic, group = fresh("topic"), fresh("group")
        odd = [None, b"\xff\xfe", None, b"a\x80b", None, None, b"\xc3", None]
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 100 + i) for i in range(10)])
            await produce_with_names(kafka_broker, topic, odd)
            await layer.publish([record(topic, 200 + i) for i in range(10)])
            wanted = [*range(100, 110), *range(len(odd)), *range(200, 210)]
            for settles in (False, True):
                async with feed_of(layer, topic, group) as feed:
                    got = await take(feed, len(wanted))
                    assert bodies(got) == wanted
                    names = [list(one.record.headers) for one in got[10:18]]
                    raw = [[] if name is None else [name] for name in odd]
                    assert [
                        [n.encode("utf-8", "surrogateescape") for n in one] for one in names
                    ] == raw
                    if settles:
                        await ack(feed, got)
            await layer.publish([record(topic, 300)])
            async with feed_of(layer, topic, group) as feed:
                assert bodies(await take(feed, 1)) == [300]

    async def test_they_are_read_beside_other_partitions(self, kafka_broker) -> None:
        """Which is read first is chance; what came of others before the odd ones comes again."""
        topic, group = fresh("topic"), fresh("group")
        async with layer_at(kafka_broker, create_topics=6) as layer:
            await layer.publish([record(topic, 0)])
            await produce_with_names(kafka_broker, topic, [b"\xff"] * 3)
            async with producer_of(kafka_broker) as producer:
                for number in range(500):
                    await producer.send(topic, b"%d" % number, partition=1 + number % 5)
            async with feed_of(layer, topic, group) as feed:
                got = await take(feed, 504)
                for partition in range(1, 6):
                    of_it = [one for one in got if one.position.startswith(f"{partition}:")]
                    assert bodies(of_it)[-100:] == list(range(partition - 1, 500, 5))
                await ack(feed, got)

    async def test_what_arrived_with_an_odd_name_can_be_dead_lettered(self, kafka_broker) -> None:
        topic, dead = fresh("topic"), fresh("dead")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0), record(dead, 0)])
            await produce_with_names(kafka_broker, topic, [b"\xff\xfe"])
            async with feed_of(layer, topic, "g") as feed:
                _, odd = await take(feed, 2)
                letter = Record(dead, b"1", "id", headers=odd.record.headers)
                reject = Settlement(odd.token, Verb.REJECT, dead_letter=letter)
                assert await feed.settle([reject]) == [Outcome.CONFIRMED]
            async with feed_of(layer, dead, "g") as feed:
                _, buried = await take(feed, 2)
                assert buried.record.headers == {"\\udcff\\udcfe": "v"}

    async def test_a_reason_that_is_no_unicode_is_written_out(self, kafka_broker) -> None:
        """Row 43: what was nine neighbours' trouble is nobody's."""
        topic, dead = fresh("topic"), fresh("dead")
        async with layer_at(kafka_broker) as layer, feed_of(layer, topic, "g") as feed:
            await layer.publish([record(topic, i) for i in range(10)])
            got = await take(feed, 10)
            letter = Record(dead, b"0", "id", headers={"acked-reason": "\ud800!"})
            batch = [Settlement(one.token, Verb.ACK) for one in got[1:]]
            batch.append(Settlement(got[0].token, Verb.REJECT, dead_letter=letter))
            assert set(await feed.settle(batch)) == {Outcome.CONFIRMED}
            with pytest.raises(PublishFailed, match="lone surrogate") as caught:
                await layer.publish([record(dead, 1), record(dead, 2, key="\ud800")])
            assert set(caught.value.failures) == {1}
            async with feed_of(layer, dead, "g") as buried:
                first, second = await take(buried, 2)
                assert first.record.headers["acked-reason"] == "\\ud800!"
                assert bodies([second]) == [1]


class TestCompression:
    """Row 22: whatever the producer compressed with."""

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    async def test_compressed_records_arrive(self, kafka_broker, codec: str) -> None:
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with producer_of(kafka_broker, compression_type=codec) as producer:
                for number in range(1, 50):
                    await producer.send(topic, b"%d" % number)
            await produce_with_names(kafka_broker, topic, [b"\xff"])
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 51)) == [*range(50), 0]

    async def test_without_what_reads_it_the_reader_is_told_what_to_install(
        self, kafka_broker, monkeypatch
    ) -> None:
        """It was called a lost connection, for five minutes."""
        topic = fresh("topic")
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            async with producer_of(kafka_broker, compression_type="zstd") as producer:
                await producer.send_and_wait(topic, b"1")
            monkeypatch.setattr("aiokafka.codec.cramjam", None)
            async with feed_of(layer, topic, "g") as feed:
                with anyio.fail_after(SOON), pytest.raises(LayerError) as caught:
                    while True:
                        await feed.receive(1)
            assert "acked[kafka]" in str(caught.value)
            assert not caught.value.may_pass


class TestBombs:
    """Issue 12, 7: a batch of 256 MiB of zeros is a few kilobytes on the wire."""

    @pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
    async def test_a_bomb_is_set_aside_and_told_and_takes_no_memory(
        self, kafka_broker, caplog, codec: str
    ) -> None:
        topic = await topic_taking(kafka_broker, 5_000_000)
        async with layer_at(kafka_broker) as layer:
            await layer.publish([record(topic, 0)])
            size = {"max_request_size": 2**30, "max_batch_size": 2**30}
            async with producer_of(kafka_broker, compression_type=codec, **size) as producer:
                await producer.send_and_wait(topic, bytes(256 * 2**20))
                await producer.send_and_wait(topic, b"1" * 2**20)
            await produce_with_names(kafka_broker, topic, [b"\xff"])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            async with feed_of(layer, topic, "g") as feed:
                got = await take(feed, 3)
                assert [len(one.record.body) for one in got] == [1, 2**20, 1]
                await ack(feed, got)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 200 * 1024
            async with feed_of(layer, topic, "g") as feed:
                await layer.publish([record(topic, 7)])
                assert bodies(await take(feed, 1)) == [7]
        (said, *again) = [one for one in caplog.messages if "set aside" in one]
        assert f"{topic!r}, partition 0 at offsets 1 to 1" in said
        assert len(again) <= 1  # read again, leniently

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    @pytest.mark.parametrize("mebibytes", [1, 60])
    def test_what_is_large_and_within_the_bound_is_read(self, codec: str, mebibytes: int) -> None:
        packed = packed_with(codec, bytes(mebibytes * 2**20))
        assert not any(unpacking._too_large(packed))

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    def test_what_is_larger_is_not_wherever_it_stands(self, codec: str) -> None:
        small, large = packed_with("gzip", b"1"), packed_with(codec, bytes(80 * 2**20))
        assert unpacking._too_large(small + large + small) == [False, True, False]

    @pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
    def test_the_bound_itself_is_within_it(self, codec: str, monkeypatch) -> None:
        packed, size = packed_with(codec, bytes(2**20)), len(packed_with("none", bytes(2**20)))
        unpacked = size - unpacking._RECORDS_AT
        for bound, is_too_large in ((unpacked, False), (unpacked - 1, True)):
            monkeypatch.setattr(unpacking, "MOST_UNPACKED", bound)
            assert unpacking._too_large(packed) == [is_too_large]

    def test_where_nothing_can_unpack_it_aiokafka_says_what_to_install(self, monkeypatch) -> None:
        packed = packed_with("zstd", bytes(80 * 2**20))
        assert unpacking._too_large(packed) == [True]
        monkeypatch.setitem(sys.modules, "cramjam", None)
        assert unpacking._too_large(packed) == [False]

    def test_what_is_no_gzip_at_all_is_left_to_aiokafka(self) -> None:
        packed = bytearray(packed_with("gzip", bytes(2**20) + b"x" * 70_000_000))
        packed[unpacking._RECORDS_AT + 2 :] = bytes(len(packed) - unpacking._RECORDS_AT - 2)
        assert unpacking._too_large(bytes(packed)) == [False]

    @given(st.binary(max_size=300), st.booleans())
    def test_any_bytes_have_batches_or_none(self, fetched: bytes, headed: bool) -> None:
        if headed:
            fetched = packed_with("gzip", b"1" * 100) + fetched
        assert not any(unpacking._too_large(fetched))


def packed_with(codec: str, value: bytes) -> bytes:
    """Return one batch as a broker passes it on."""
    from aiokafka.record.default_records import DefaultRecordBatchBuilder

    number = ["none", "gzip", "snappy", "lz4", "zstd"].index(codec)
    builder = DefaultRecordBatchBuilder(2, number, 0, -1, -1, -1, 2**30)
    builder.append(0, 0, None, value, [])
    return bytes(builder.build())


class TestSizes:
    async def test_many_small_records_where_a_batch_of_them_is_too_large(
        self, kafka_broker
    ) -> None:
        """Row 27: 40 of 40 were refused."""
        topic = await topic_taking(kafka_broker, 900)
        async with layer_at(kafka_broker) as layer:
            for _ in range(2):
                await layer.publish([Record(topic, b"x" * 200, f"{i}") for i in range(40)])
            async with feed_of(layer, topic, "g") as feed:
                got = await take(feed, 80)
                assert [one.record.id for one in got] == [f"{i}" for i in range(40)] * 2

    async def test_one_large_record_fails_alone_among_many(self, kafka_broker) -> None:
        """Row 27: 186 of its 400 neighbours failed with it."""
        topic = await topic_taking(kafka_broker, 300_000)
        async with layer_at(kafka_broker) as layer:
            records = [Record(topic, b"x" * 1000, f"{i}") for i in range(400)]
            records[200] = Record(topic, b"x" * 400_000, "large")
            with pytest.raises(PublishFailed, match="1 of 400") as caught:
                await layer.publish(records)
            assert set(caught.value.failures) == {200}
            assert not caught.value.indeterminate
            async with feed_of(layer, topic, "g") as feed:
                got = {one.record.id for one in await take(feed, 399)}
            assert got == {one.id for one in records} - {"large"}

    async def test_after_a_refusal_it_goes_on_as_soon_as_somebody_answers(
        self, kafka_broker, proxy
    ) -> None:
        """aiokafka's producer is of no use any more; another one needs a connection first."""
        topic, between = await topic_taking(kafka_broker, 900), proxy(kafka_broker)
        async with layer_at(between, timeout=3.0) as layer:
            for comes_back in (True, False):
                with pytest.raises(PublishFailed, match="TooLarge"):
                    await layer.publish([Record(topic, bytes(2000), "big")])
                between.refuse()
                between.cut()
                with anyio.fail_after(SOON):
                    if comes_back:
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(layer.publish, [record(topic, 1)])
                            await anyio.sleep(0.5)
                            between.accept()
                    else:
                        with pytest.raises(PublishFailed, match="connecting failed") as caught:
                            await layer.publish([record(topic, 2)])
                        assert not caught.value.indeterminate
                        between.accept()
            await layer.publish([record(topic, 3)])
            async with feed_of(layer, topic, "g") as feed:
                assert bodies(await take(feed, 2)) == [1, 3]

    async def test_bodies_above_a_megabyte_where_the_topic_takes_them(self, kafka_broker) -> None:
        topic = await topic_taking(kafka_broker, 5_000_000)
        body = b"x" * 4_000_000
        async with Channel(layer_at(kafka_broker, max_payload=4_500_000)) as channel:
            layer = channel.layer
            await layer.publish([Record(topic, body, "large")])
            async with feed_of(layer, topic, "g") as feed:
                (leased,) = await take(feed, 1)
                assert leased.record.body == body

    @pytest.mark.parametrize("headers", [{}, {"mine": "x" * 60_000}])
    async def test_what_just_fitted_can_be_buried(self, kafka_broker, headers) -> None:
        """Issue 12, 2: its letter is larger; the reason stays, and where the body is."""
        topic, dead = fresh("topic"), fresh("dead")
        async with layer_at(kafka_broker) as layer:
            room = 1_048_588 - 400 - sum(map(len, headers.values()))
            async with producer_of(kafka_broker, max_request_size=2_000_000) as producer:
                await layer.publish([record(topic, 0), record(dead, 0)])
                encoded = [(name, text.encode()) for name, text in headers.items()]
                await producer.send_and_wait(topic, b"x" * room, b"k", headers=encoded)
        async with Channel(layer_at(kafka_broker)) as channel:
            redelivery = Redelivery(dead_letter=dead)
            async with channel.subscribe(topic, group="g", redelivery=redelivery, lease=2.0) as sub:
                first = None
                with anyio.fail_after(SOON):
                    while sub.statistics().dead_lettered < 1:
                        with anyio.move_on_after(0.5):
                            first = await anext(sub)
                            await first.ack()
        async with layer_at(kafka_broker) as layer, feed_of(layer, dead, "g") as feed:
            _, letter = await take(feed, 2)
            assert "undecodable" in letter.record.headers["acked-reason"]
            assert letter.record.key == "k"
            if headers:
                assert len(letter.record.body) == room
                assert "mine" not in letter.record.headers
            else:
                assert "bytes of body" in letter.record.headers["acked-cut"]
                assert letter.record.headers["acked-position"] == "0:1"


def test_a_batch_of_an_older_format_is_read_leniently_too() -> None:
    """It has no headers: so it is aiokafka's own."""
    from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

    builder = LegacyRecordBatchBuilder(1, 0, 2**20)
    builder.append(0, 1, b"k", b"v")
    records = LenientRecords(bytes(builder.build()))
    assert [(one.key, one.value) for one in records.next_batch()] == [(b"k", b"v")]
    assert records.next_batch() is None


names = st.binary(max_size=20)
values = st.none() | st.binary(max_size=20)


@settings(deadline=None)
@given(
    st.lists(st.tuples(values, values, st.lists(st.tuples(names, values), max_size=6)), min_size=1)
)
def test_every_record_becomes_a_delivery(wire) -> None:
    """Fuzzed: keys, values, names and values of headers of any bytes, some of our own names."""
    from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 10**6)
    for offset, (key, value, headers) in enumerate(wire):
        ours = [(_Raw(name), text) for name, text in headers]
        if offset % 3 == 1:
            ours = (
                list(
                    zip(
                        ("acked-id", "acked-content-type", "acked-timestamp"),
                        (key, value, value),
                        strict=True,
                    )
                )
                + ours
            )
        builder.append(offset, 1, key, value, ours)
    records = LenientRecords(bytes(builder.build()))
    batch = records.next_batch()
    fetched = [_Fetched(one) for one in batch]
    place = TopicPartition("t", 0)
    partition = Partition(place, Position(0, ""), 1)
    leased = leased_first(partition, fetched)
    assert [one.record.body for one in leased] == [value or b"" for _, value, _ in wire]
    for one, (_, _, headers) in zip(leased, wire, strict=True):
        last = dict(headers)
        for name, text in last.items():
            decoded = name.decode("utf-8", "surrogateescape")
            if decoded in one.record.headers:
                found = one.record.headers[decoded].encode("utf-8", "surrogateescape")
                assert found == (text or b"")


class _Fetched:
    def __init__(self, read) -> None:
        self.offset, self.timestamp, self.key, self.value = (
            read.offset,
            read.timestamp,
            read.key,
            read.value,
        )
        self.headers = tuple(read.headers)
