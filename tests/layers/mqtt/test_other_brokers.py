"""MQTT: the same promises on HiveMQ CE and ActiveMQ Artemis, as each of them can keep them."""

from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from acked import Channel, Delivery, Redelivery
from acked.conformance.harness import fresh
from acked.errors import LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._ownership import MARKS
from acked.types import Settlement, Verb
from compose.catalogue import recipe_for
from compose.lifecycle import FURTHER, Broker
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.mqtt.kit import (
    acks,
    bodies,
    broker_has_read,
    cut,
    feed_at,
    foreign_client,
    joined,
    record,
    take,
    what_is_owed,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture(scope="module", params=[name for name in FURTHER if FURTHER[name] == "mqtt"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    server = NativeBroker(recipe_for(request.param))
    or_skip(request.param, server.start)
    with server:
        yield server


@pytest.fixture
def url(broker: Broker) -> str:
    return broker.url


async def test_a_group_goes_on_where_it_was(url: str, topic: str) -> None:
    """Each resumed session of HiveMQ ended in an IndexError."""
    async with Channel(MQTTLayer(url)) as channel:
        async with channel.subscribe(topic, group="g"):
            await channel.publish_many(topic, range(6))
        for turn in range(3):
            async with channel.subscribe(topic, group="g") as sub:
                with anyio.fail_after(40):
                    for n in range(2):
                        delivery = await anext(sub)
                        assert delivery.body == 2 * turn + n
                        await delivery.ack()
    assert await what_is_owed(url, topic, group="g") == []


async def test_what_was_held_when_the_window_was_full_comes_again(url: str, topic: str) -> None:
    """Artemis 2.40 sent such a session nothing any more."""
    async with feed_at(url, topic, in_flight=4) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(6)])
        assert len(await take(feed, 4)) == 4
    seen: list[str] = []
    async with feed_at(url, topic, in_flight=4) as (_, feed):
        while len(seen) < 6:
            got = await take(feed, 1)
            await feed.settle(acks(got))
            seen += bodies(got)
    assert sorted(seen) == [str(n) for n in range(6)]


async def test_out_of_order_acks_are_kept_over_a_cut(
    broker: Broker, proxy, url: str, topic: str
) -> None:
    between = proxy(broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(4)])
        got = await take(feed, 4)
        await feed.settle(acks(got[1:3]))
        await broker_has_read(feed)
        await cut(between, feed)
        again = await take(feed, 2, reconnect=True)
        assert bodies(again) == ["0", "3"]
        assert {one.attempt for one in again} == {2}
        await feed.settle(acks(again))
    assert await what_is_owed(url, topic) == []


async def test_more_than_the_window_gets_through_and_nacked_ones_keep_their_order(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic, in_flight=10) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(100)])
        got = await take(feed, 5)
        await feed.settle([Settlement(one.token, Verb.NACK, delay=0.05) for one in got])
        await anyio.sleep(0.1)
        seen: list[str] = []
        while len(seen) < 100:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            seen += bodies(some)
        assert seen[:5] == bodies(got)  # Artemis may send the first ones of all in another order
        assert sorted(map(int, seen)) == list(range(100))
    assert await what_is_owed(url, topic) == []


async def test_every_part_of_a_record_arrives(url: str, topic: str) -> None:
    headers = {"plain": "ü😀", "line\nfeed": "\x00\x85", "\ufeff": "\ufeff", "acked:id": "no"}
    sent = record(topic, "x" * 300_000, key="k\n", headers=headers, content_type="text/plain")
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([sent])
        got = await take(feed, 1)
        assert got[0].record == sent
        await feed.settle(acks(got))


async def test_a_filter_brings_what_matches_once(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url, mandatory=False)) as channel:
        names = (f"{topic}/#", f"{topic}/+/temperature", f"{topic}/1/temperature")
        async with channel.subscribe(*names, group="g", patterns=True) as sub:
            for n in range(3):
                await channel.publish(f"{topic}/{n}/temperature", n)
            got: list[Delivery[object]] = []
            with anyio.fail_after(40):
                while len(got) < 3:
                    got.append(await anext(sub))
                    await got[-1].ack()
            assert [one.body for one in got] == [0, 1, 2]


async def test_those_who_share_a_group_share_its_messages(url: str, topic: str) -> None:
    async with MQTTLayer(url, client_id=fresh("member"), shared=True) as layer:
        async with joined(layer, topic) as one, joined(layer, topic) as other:
            await layer.publish([record(topic, n) for n in range(20)])
            seen: list[str] = []

            async def consume(feed) -> None:
                while len(seen) < 20:
                    some = await feed.receive(10)
                    await feed.settle(acks(some))
                    seen.extend(bodies(some))
                tasks.cancel_scope.cancel()

            with anyio.fail_after(40):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(consume, one)
                    tasks.start_soon(consume, other)
            assert sorted(map(int, seen)) == list(range(20))


async def test_the_newer_of_two_consumers_keeps_the_session(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, older), feed_at(url, topic) as (_, newer):
        with pytest.raises(LayerError, match="taken over"):
            while True:
                await take(older, 1, reconnect=True)
        await layer.publish([record(topic)])
        got = await take(newer, 1, reconnect=True)
        assert bodies(got) == ["body"]
        await newer.settle(acks(got))


async def test_what_is_published_to_the_marks_is_no_delivery(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with foreign_client(url) as client:
            for mark in MARKS:
                client.publish(mark, b"{", qos=1).wait_for_publish(10)
        await layer.publish([record(topic, "ours")])
        got = await take(feed, 1)
        assert bodies(got) == ["ours"]
        await feed.settle(acks(got))
    assert await what_is_owed(url, topic) == []


async def test_a_rejected_message_is_buried(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url)) as channel:
        redelivery = Redelivery(dead_letter=f"{topic}-dead")
        async with (
            channel.subscribe(f"{topic}-dead", group="g") as dead,
            channel.subscribe(topic, group="g", redelivery=redelivery) as sub,
        ):
            await channel.publish(topic, 1)
            with anyio.fail_after(40):
                await (await anext(sub)).reject("no")
                letter = await anext(dead)
            assert letter.headers["acked-reason"] == "no"
            await letter.ack()


async def test_what_is_kept_for_nobody_is_told_or_taken(broker: Broker, url: str) -> None:
    """Artemis keeps addresses, and does not tell whether anybody is bound to one."""
    async with MQTTLayer(url) as layer:
        if broker.name == "hivemq":
            with pytest.raises(PublishFailed, match="no session subscribes"):
                await layer.publish([record(fresh("nobody"))])
        else:
            await layer.publish([record(fresh("nobody"))])


async def test_a_removed_group_is_owed_nothing(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url, mandatory=False)) as channel:
        async with channel.subscribe(topic, group="g"):
            pass
        await channel.publish(topic, "before")
        await channel.remove_group(topic, group="g")
        async with channel.subscribe(topic, group="g") as sub:
            await channel.publish(topic, "after")
            with anyio.fail_after(40):
                delivery = await anext(sub)
            assert delivery.body == "after"
            await delivery.ack()


async def test_check_says_what_such_a_broker_grants(url: str) -> None:
    async with Channel(MQTTLayer(url)) as channel:
        found = {one.name: one.value for one in await channel.check()}
    assert found["session_expiry"] == 7 * 24 * 3600
    assert found["maximum_qos"] == 2
    assert found["server_version"] is None


async def test_sessions_survive_a_restart_of_the_broker(broker: Broker, topic: str) -> None:
    async with feed_at(broker.url, topic) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(3)])
        got = await take(feed, 3)
        await feed.settle(acks(got[:1]))
        await broker_has_read(feed)
        await anyio.to_thread.run_sync(broker.restart)
        with anyio.fail_after(30):
            again = await take(feed, 2, reconnect=True)
        assert bodies(again) == ["1", "2"]
        # HiveMQ sends what is new when all that came again is settled.
        await feed.settle(acks(again))
        await layer.publish([record(topic, 3)])
        assert bodies(await take(feed, 1)) == ["3"]
