"""Redis pub/sub: what is published arrives as it was, and publishing says what came of it."""

import anyio
import pytest
from anyio import fail_after, to_thread

from acked import (
    Channel,
    LayerError,
    MessageTooLarge,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers.redis_pubsub import RedisPubSubLayer, _publisher
from acked.layers.redis_pubsub._envelope import MAGIC, packed, unpacked
from acked.types import Record
from tests.layers.redis_pubsub_kit import SOON, Recorder, client_of, until

pytestmark = pytest.mark.anyio


async def test_what_is_published_after_entering_is_delivered(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        for number in range(20):
            async with channel.subscribe(topic) as sub:
                await channel.publish(topic, b"%d" % number)
                with fail_after(SOON):
                    message = await anext(sub)
                assert (message.body, message.gap) == (b"%d" % number, None)


async def test_many_records_arrive_once_and_in_order(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic, capacity=5000) as sub:
            await channel.publish_many(topic, [b"%d" % n for n in range(3000)])
            with fail_after(SOON):
                assert [int((await anext(sub)).body) for _ in range(3000)] == list(range(3000))


async def test_topics_do_not_leak_into_one_another(redis_broker, topic) -> None:
    longer = Topic(f"{topic.name}-longer", bytes, codec=RAW)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as short, channel.subscribe(longer) as long:
            await channel.publish(longer, b"long")
            await channel.publish(topic, b"short")
            with fail_after(SOON):
                assert (await anext(short)).body == b"short"
                assert (await anext(long)).body == b"long"
            assert short.statistics().buffered == long.statistics().buffered == 0


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", bytes(range(256)), MAGIC, MAGIC + b"\0\0\0\2{}rest", b"x" * 3_000_000]
)
async def test_every_body_arrives_as_it_was(redis_broker, topic, body) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, body)
            with fail_after(SOON):
                assert (await anext(sub)).body == body


@pytest.mark.parametrize("body", [b"\0body", b""])
async def test_headers_and_key_travel_with_all_the_rest(redis_broker, topic, body) -> None:
    sent = Record(topic.name, body, "the-id", "k", {"a": "ü"}, "text/plain", 12.5)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.layer.publish([sent])
            with fail_after(SOON):
                got = await anext(sub)
    assert (got.body, got.id, got.key, got.headers) == (body, "the-id", "k", {"a": "ü"})
    assert unpacked(topic.name, packed(sent), lambda: "other") == sent


async def test_ids_of_bodies_that_travel_alone_differ(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as one, channel.subscribe(topic) as other:
            await channel.publish_many(topic, [b"same", b"same"])
            with fail_after(SOON):
                ids = [(await anext(one)).id for _ in range(2)]
                assert [(await anext(other)).id for _ in range(2)] == ids
    assert ids[0] != ids[1]


# Strangers


async def test_strangers_publish_and_subscribe_plain_bodies(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, stranger.pubsub() as ear:
            await ear.subscribe(topic.name)
            await ear.get_message(timeout=SOON)
            async with channel.subscribe(topic) as sub:
                await channel.publish(topic, b"\xffours")
                heard = await ear.get_message(timeout=SOON)
                assert heard["data"] == b"\xffours"
                assert await stranger.publish(topic.name, b"\xfetheirs") == 2
                with fail_after(SOON):
                    assert [(await anext(sub)).body for _ in range(2)] == [
                        b"\xffours",
                        b"\xfetheirs",
                    ]


@pytest.mark.parametrize(
    "payload",
    [
        MAGIC,
        MAGIC + b"\xff\xff\xff\xffshort",
        MAGIC + b"\0\0\0\0",
        MAGIC + b"\0\0\0\2{}body",
        MAGIC + b'\0\0\0\4"\xff"x',
        MAGIC + b"\0\0\0\1[",
    ],
)
async def test_a_stranger_s_payload_that_only_looks_like_ours_is_a_body(
    redis_broker, topic, payload
) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.publish(topic.name, payload)
            with fail_after(SOON):
                assert (await anext(sub)).body == payload


async def test_the_native_client_is_the_servers(redis_broker) -> None:
    layer = RedisPubSubLayer(redis_broker.url)
    with pytest.raises(LayerError, match="not connected"):
        _ = layer.client
    async with layer:
        assert await layer.client.ping()


# Publishing


async def test_a_lost_answer_is_unknown_and_nothing_is_repeated(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as watcher:
        async with (
            watcher.subscribe(topic) as sub,
            Channel(RedisPubSubLayer(between.url)) as channel,
        ):
            between.cut_after_bytes(1, "to_client")
            with pytest.raises(PublishFailed) as caught:
                await channel.publish_many(topic, [b"0", b"1"])
            assert caught.value.indeterminate
            assert set(caught.value.failures) == {0, 1}
            await channel.publish(topic, b"end")
            with fail_after(SOON):
                assert [(await anext(sub)).body for _ in range(3)] == [b"0", b"1", b"end"]


async def test_what_was_never_sent_is_not_unknown(private_redis, topic) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        await to_thread.run_sync(broker.stop)
        with pytest.raises(PublishFailed) as caught:
            await channel.publish(topic, b"x")
        assert not caught.value.indeterminate
        await to_thread.run_sync(broker.start)
        await channel.publish(topic, b"x")


async def test_a_hundred_publishers_at_once_all_get_through(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub, anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(channel.publish, topic, b"%d" % number)
            with fail_after(SOON):
                assert {int((await anext(sub)).body) for _ in range(100)} == set(range(100))


async def test_cancelled_publishers_leave_the_layer_usable(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        await to_thread.run_sync(between.black_hole)
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(channel.publish, topic, b"x")
        await to_thread.run_sync(between.heal)
        with fail_after(SOON):
            for _ in range(40):
                await channel.publish(topic, b"y")


async def test_an_empty_batch_sends_nothing(redis_broker) -> None:
    async with RedisPubSubLayer(redis_broker.url) as layer:
        before = (await layer.client.info("stats"))["total_commands_processed"]
        await layer.publish([])
        assert (await layer.client.info("stats"))["total_commands_processed"] == before + 1


async def test_an_envelope_over_the_limit_is_refused_unsent(
    redis_broker, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_publisher, "MAX_PAYLOAD", 100)
    async with RedisPubSubLayer(redis_broker.url) as layer:
        async with layer.listen([topic.name], sink := Recorder()):
            first, fits = (Record(topic.name, 99 * x, "id") for x in (b"1", b"2"))
            large = Record(topic.name, b"x" * 100, "id", headers={"a": "b"})
            with pytest.raises(MessageTooLarge):
                await layer.publish([first, large])
            await layer.publish([fits])
            await until(lambda: sink.told == [fits.body])
