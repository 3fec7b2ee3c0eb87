"""Looking into what a topic keeps: whatever is in it, and however much is left between."""

import anyio
import pytest

from acked import ConnectionLost
from acked.conformance.harness import fresh
from tests.layers.kafka.test_wire import produce_with_names
from tests.layers.kafka_kit import SOON, ack, bodies, feed_of, layer_at, producer_of, record, take

pytestmark = pytest.mark.anyio


async def kept(layer, topic: str) -> list:
    with anyio.fail_after(SOON):
        return [one async for page in layer.browse(topic) for one in page]


async def removed(layer, topic: str, offsets) -> list[int]:
    """Remove `offsets`; return those for which there was room."""
    asked = list(offsets)
    done = await layer.remove(topic, [f"0:{offset}" for offset in asked])
    return [offset for offset, is_done in zip(asked, done, strict=True) if is_done]


def numbers(page) -> list[int]:
    return [int(one.position.partition(":")[2]) for one in page]


async def test_names_of_headers_that_are_no_utf_8_are_shown(kafka_broker) -> None:
    topic = fresh("topic")
    async with layer_at(kafka_broker, create_topics=2) as layer:
        await layer.publish([record(topic, 0)])
        await produce_with_names(kafka_broker, topic, [None, b"\xff\xfe", None])
        async with producer_of(kafka_broker) as producer:
            await producer.send_and_wait(topic, b"7", partition=1)
        shown = {one.position: one.record for one in await kept(layer, topic)}
        assert [one.headers for one in shown.values()].count({"\udcff\udcfe": "v"}) == 1
        assert sorted(int(one.body) for one in shown.values()) == [0, 0, 1, 2, 7]


async def test_marks_of_transactions_take_no_room_from_what_is_removed(kafka_broker) -> None:
    """Transactions of one record each: after the first look their marks are known to be none."""
    topic = fresh("topic")
    async with layer_at(kafka_broker) as layer:
        await layer.publish([record(topic, 0)])
        async with producer_of(kafka_broker, transactional_id=fresh("tx")) as producer:
            for number in range(20):
                async with producer.transaction():
                    await producer.send_and_wait(topic, b"%d" % number)
        shown = numbers(await kept(layer, topic))
        assert len(shown) == 21
        assert await removed(layer, topic, shown) == shown
        assert await kept(layer, topic) == []
        await layer.publish([record(topic, 100)])
        (last,) = await kept(layer, topic)
        assert int(last.record.body) == 100


async def test_what_there_is_no_room_for_is_said_so_and_stays(kafka_broker) -> None:
    """And nothing that was removed before comes back for it."""
    topic, count = fresh("topic"), 9000
    async with layer_at(kafka_broker) as layer:
        await layer.publish([record(topic, i) for i in range(count)])
        odd = list(range(1, 201, 2))
        assert await removed(layer, topic, odd) == odd
        assert await removed(layer, topic, [300, count - 1]) == [300]
        left = [n for n in range(count) if n not in {*odd, 300}]
        assert numbers(await kept(layer, topic)) == left


async def test_a_topic_whose_records_are_not_sent_is_a_lost_connection(kafka_broker, proxy) -> None:
    topic, between = fresh("topic"), proxy(kafka_broker)
    async with layer_at(between, timeout=2.0) as layer:
        await layer.publish([record(topic, "x" * 900_000) for _ in range(8)])
        pages = layer.browse(topic)
        assert await anext(pages)
        between.black_hole()
        with anyio.fail_after(SOON), pytest.raises(ConnectionLost, match="what a topic keeps"):
            while True:
                await anext(pages)
        between.heal()


async def test_groups_still_get_what_was_removed(kafka_broker) -> None:
    topic = fresh("topic")
    async with layer_at(kafka_broker) as layer:
        await layer.publish([record(topic, i) for i in range(3)])
        assert await removed(layer, topic, [1]) == [1]
        assert numbers(await kept(layer, topic)) == [0, 2]
        async with feed_of(layer, topic, fresh("group")) as feed:
            got = await take(feed, 3)
            assert bodies(got) == [0, 1, 2]
            await ack(feed, got)
