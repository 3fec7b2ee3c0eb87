"""What arrives by NOTIFY and as what, what does not fit, and transactions, on a real PostgreSQL."""

import asyncio
import os
import time

import anyio
import asyncpg
import pytest

from acked import (
    Channel,
    ConfigurationError,
    MessageTooLarge,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers.postgres_notify import CAPABILITIES, PostgresNotifyLayer
from acked.layers.postgres_notify._envelope import LARGEST_BODY, Unpacker, pack
from acked.types import Record
from tests.layers.postgres_kit import (
    connected,
    fresh,
    raw,
    record,
)

pytestmark = pytest.mark.anyio


async def test_what_is_published_after_entering_arrives(postgres_broker) -> None:
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        for _ in range(30):
            topic = fresh()
            async with channel.subscribe(topic) as subscription:
                await channel.publish(topic, "at once")
                assert (await anext(subscription)).body == "at once"


async def test_of_a_thousand_concurrent_publishes_none_fails(postgres_broker) -> None:
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=1000) as subscription,
    ):
        await asyncio.gather(*(channel.publish(topic, number) for number in range(1000)))
        got = [(await anext(subscription)).body for _ in range(1000)]
        assert sorted(got) == list(range(1000))
        assert subscription.statistics().missed == 0


async def test_identical_bodies_of_one_batch_all_arrive_in_order(postgres_broker) -> None:
    topic = fresh()
    bodies = ["same", "same", "other", "same"] * 50
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish_many(topic, bodies)
        assert [(await anext(subscription)).body for _ in bodies] == bodies


async def test_a_batch_of_several_topics_keeps_its_order(postgres_broker) -> None:
    topics = [fresh(), fresh()]
    layer = PostgresNotifyLayer(postgres_broker.url)
    records = [record(topics[number % 3 % 2], b"%d" % number) for number in range(20)]
    async with Channel(layer) as channel, channel.subscribe(*topics) as subscription:
        await layer.publish(records)
        got = [await anext(subscription) for _ in records]
        assert [message.id for message in got] == [one.id for one in records]


async def test_an_empty_batch_sends_nothing(postgres_broker) -> None:
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        await channel.publish_many(fresh(), [])


async def test_a_large_batch_does_not_overflow_a_reader_that_keeps_up(postgres_broker) -> None:
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=100) as subscription,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(channel.publish_many, topic, range(10_000))
        assert [(await anext(subscription)).body for _ in range(10_000)] == list(range(10_000))
        assert subscription.statistics().missed == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\xff\xfe", bytes(range(256)), "ünïcödé\n\r\t".encode(), b"acked:t[]\n", b"\n"],
)
async def test_any_bytes_arrive_as_they_were(postgres_broker, body: bytes) -> None:
    topic = raw(fresh())
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish(topic, body)
        message = await anext(subscription)
        assert message.body == body
        assert message.record.content_type == RAW.content_type


async def test_headers_key_id_and_time_arrive_as_they_were(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    sent = [
        record(topic, timestamp=0.1 + 0.2),
        record(topic, key="", timestamp=1e9),
        record(topic, key='k"\n\0', timestamp=time.time()),
        record(topic, headers={"": "", "näme\n": 'väl"ue\0'}, timestamp=time.time()),
        Record(topic, b"[]", "id", "key", {"a": "b"}, "text/x", time.time()),
    ]
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await layer.publish(sent)
        assert [(await anext(subscription)).record for _ in sent] == sent


async def test_what_others_notify_arrives_as_it_is(postgres_broker) -> None:
    topic = fresh('Some Body\'s "channel"')
    # Whatever looks like ours and is not is theirs.
    texts = ["", "plain", "{}", "acked:", 'acked:t["id",1]', "acked:t{}\nx", 'acked:b["i",1]\n!']
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(raw(topic)) as subscription,
        connected(postgres_broker.url) as psql,
    ):
        for text in texts:
            await psql.execute("select pg_notify($1, $2)", topic, text)
        got = [await anext(subscription) for _ in texts]
        assert [message.body.decode() for message in got] == texts
        assert len({message.id for message in got}) == len(texts)


async def test_a_plain_notify_reaches_the_topic_in_lower_case(postgres_broker) -> None:
    name = f"case{os.getpid()}"
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(raw(name), raw(name.upper())) as subscription,
        connected(postgres_broker.url) as psql,
    ):
        await psql.execute(f"notify {name.upper()}, 'folded'")
        await psql.execute(f"notify \"{name.upper()}\", 'quoted'")
        got = [await anext(subscription) for _ in range(2)]
        assert [(m.topic, m.body) for m in got] == [(name, b"folded"), (name.upper(), b"quoted")]


async def test_a_payload_of_7999_bytes_arrives_and_one_more_is_refused(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    for character in ("x", "é", "\0"):
        sample = record(topic, character.encode() * 8000)
        with pytest.raises(MessageTooLarge) as caught:
            pack(sample)
        limit = caught.value.limit
        largest = Record(
            topic,
            (character.encode() * 8000)[: limit - limit % len(character.encode())],
            sample.id,
            content_type="application/json",
        )
        async with Channel(layer) as channel, channel.subscribe(raw(topic)) as subscription:
            assert 7996 <= len(pack(largest).encode()) <= 7999
            await layer.publish([largest])
            assert (await anext(subscription)).body == largest.body
            over = Record(
                topic,
                largest.body + character.encode() * 3,
                sample.id,
                content_type="application/json",
            )
            with pytest.raises(MessageTooLarge) as caught:
                await layer.publish([record(topic), over])
            assert (caught.value.size, caught.value.limit) == (len(over.body), limit)


def test_bytes_have_room_up_to_the_last_byte_of_a_payload() -> None:
    packed = set()
    for word in ("a", "ab", "abc", "abcd"):  # base64 comes in fours
        with pytest.raises(MessageTooLarge) as caught:
            pack(Record("t", bytes(7999), word))
        packed.add(len(pack(Record("t", bytes(caught.value.limit), word))))
    assert packed == {7996, 7997, 7998, 7999}


async def test_text_leaves_about_fifty_bytes_to_the_envelope(postgres_broker) -> None:
    topic = Topic(fresh(), str)
    assert CAPABILITIES.max_payload == LARGEST_BODY
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic) as subscription,
    ):
        await channel.publish(topic, "x" * (7940 - 2))
        assert len((await anext(subscription)).body) == 7938
        with pytest.raises(MessageTooLarge):
            await channel.publish(topic, "x" * 7999)
        with pytest.raises(MessageTooLarge):
            await channel.publish(topic, "x" * 7900, headers={"h": "y" * 100})


async def test_a_name_of_63_bytes_works_and_64_are_refused_by_number(postgres_broker) -> None:
    for name in ("n" * 63, "é" * 31 + "x"):
        async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
            async with channel.subscribe(name) as subscription:
                await channel.publish(name, 1)
                assert (await anext(subscription)).body == 1
            with pytest.raises(ConfigurationError, match="64 bytes"):
                await channel.publish(name + "y", 1)
            with pytest.raises(ConfigurationError, match="64 bytes"):
                async with channel.subscribe(name + "y"):
                    pass


async def test_published_in_a_transaction_arrives_at_its_commit_only(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        connected(postgres_broker.url) as own,
    ):
        transaction = own.transaction()
        await transaction.start()
        await layer.publish_in(own, [record(topic, b"1"), record(topic, b"2")])
        await layer.publish_in(own, [record(topic, b"2")])
        await channel.publish(topic, "before the commit")
        assert (await anext(subscription)).body == "before the commit"
        await transaction.commit()
        assert [(await anext(subscription)).body for _ in range(3)] == [1, 2, 2]


async def test_published_in_a_transaction_that_is_rolled_back_never_arrives(
    postgres_broker,
) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        connected(postgres_broker.url) as own,
    ):
        with pytest.raises(ZeroDivisionError):
            async with own.transaction():
                await layer.publish_in(own, [record(topic)])
                raise ZeroDivisionError
        await channel.publish(topic, "the first")
        assert (await anext(subscription)).body == "the first"


async def test_publishing_in_a_failed_transaction_says_so(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with connected(postgres_broker.url) as own:
        transaction = own.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await own.execute("select 1/0")
        with pytest.raises(PublishFailed, match="none was accepted") as caught:
            await layer.publish_in(own, [record(fresh()), record(fresh())])
        assert not caught.value.indeterminate
        assert caught.value.failures.keys() == {0, 1}
        await transaction.rollback()


def test_what_looks_like_ours_without_being_it_is_somebody_elses() -> None:
    for text in ('acked:t["a",1.0]x', 'acked:t["a"]\nx', 'acked:b["a",1.0]\n===='):
        assert Unpacker().unpack("t", text).body == text.encode()
