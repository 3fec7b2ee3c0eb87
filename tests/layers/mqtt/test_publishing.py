"""MQTT: each publish awaits its PUBACK, and nothing is sent later."""

import socket
import tracemalloc
from collections.abc import Mapping

import anyio
import pytest

from acked.errors import ConnectionLost, NoSubscribers, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._publisher import BYTES_UNANSWERED
from acked.types import Leased, Record
from tests.layers.mqtt.kit import CONNACK, Refuser, acks, bodies, feed_at, joined, record, take

pytestmark = pytest.mark.anyio


async def test_a_publish_that_was_not_answered_is_indeterminate_and_sent_no_more(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with feed_at(url, topic) as (_, feed):
        async with MQTTLayer(between.url, timeout=0.3) as layer:
            between.black_hole()
            batch = [record(topic, f"ghost {n}") for n in range(50)]
            with pytest.raises(PublishFailed, match="did not answer") as caught:
                await layer.publish(batch)
            assert len(caught.value.failures) == 50
            assert caught.value.indeterminate
            between.cut()
            between.heal()
            await layer.publish([record(topic, "after")])
        assert bodies(await take(feed, 1)) == ["after"]


async def test_after_a_lost_connection_nothing_more_of_a_publish_is_sent(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    count = 1200
    async with feed_at(url, topic) as (_, feed), MQTTLayer(between.url) as layer:
        between.cut_after_bytes(80_000, "to_server")
        with pytest.raises(PublishFailed, match="broke") as caught:
            await layer.publish([record(topic, n) for n in range(count)])
        assert caught.value.indeterminate
        failed = sorted(caught.value.failures)
        assert 0 < failed[0] < count
        assert failed == list(range(failed[0], count))
        await layer.publish([record(topic, "after")])
        got: list[str] = []
        while "after" not in got:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += bodies(some)
        # What was accepted, what was on its way, and nothing beyond: in order, and no ghosts.
        assert got == [*(str(n) for n in range(len(got) - 1)), "after"]
        assert len(got) - 1 >= failed[0]


async def test_a_record_beyond_the_brokers_packet_size_is_refused_unsent(topic: str) -> None:
    granted = bytes([0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 200])
    with Refuser(granted) as broker:
        async with MQTTLayer(broker.url) as layer:
            with pytest.raises(PublishFailed, match="up to 200 bytes") as caught:
                await layer.publish([record(topic, "x" * 200)])
            assert not caught.value.indeterminate


async def test_of_large_records_few_are_on_their_way_at_once(topic: str) -> None:
    records = [record(topic, "x" * BYTES_UNANSWERED) for _ in range(20)]
    with Refuser(CONNACK) as broker:
        async with MQTTLayer(broker.url) as layer:
            tracemalloc.start()
            try:
                with anyio.move_on_after(0.1):
                    await layer.publish(records)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 4 * BYTES_UNANSWERED


async def test_large_records_are_all_published(url: str, topic: str) -> None:
    body = "x" * (BYTES_UNANSWERED // 5)
    async with feed_at(url, topic) as (layer, feed):
        await layer.publish([record(topic, f"{n} {body}") for n in range(30)])
        got: list[str] = []
        while len(got) < 30:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += [text.partition(" ")[0] for text in bodies(some)]
    assert got == [f"{n}" for n in range(30)]


async def test_a_publish_with_no_way_to_the_broker_is_not_indeterminate(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(between.url) as layer:
        between.refuse()
        between.cut()
        with anyio.fail_after(10):
            while layer.client.is_connected():
                await anyio.sleep(0.001)
        with pytest.raises(PublishFailed) as caught:
            await layer.publish([record(topic)])
        assert not caught.value.indeterminate
        assert isinstance(caught.value.failures[0], ConnectionLost)


async def test_closing_answers_a_publish_that_waits(topic: str) -> None:
    with Refuser(CONNACK) as broker:
        async with anyio.create_task_group() as tasks:
            caught: list[PublishFailed] = []
            async with MQTTLayer(broker.url) as layer:

                async def publish() -> None:
                    with pytest.raises(PublishFailed) as info:
                        await layer.publish([record(topic)])
                    caught.append(info.value)

                tasks.start_soon(publish)
                await anyio.wait_all_tasks_blocked()
        assert caught[0].indeterminate


async def test_closing_ends_a_publish_that_makes_its_connection_anew(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(between.url) as layer:
        between.delay(0.3)
        between.cut()
        with anyio.fail_after(10):
            while layer.client.is_connected():
                await anyio.sleep(0.001)

        async def publish() -> None:
            with pytest.raises(PublishFailed, match="was closed") as caught:
                await layer.publish([record(topic)])
            assert not caught.value.indeterminate

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            with anyio.fail_after(10):
                while between.statistics().connections < 2:
                    await anyio.sleep(0.01)
            await layer.__aexit__(None, None, None)
    with anyio.fail_after(10):
        while between.statistics().open_connections:
            await anyio.sleep(0.01)


async def test_a_publish_with_nobody_to_keep_it_for_fails_and_says_so(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        heard, unheard = record(topic), record(f"{topic}-nobody")
        with pytest.raises(PublishFailed, match="no session subscribes") as caught:
            await layer.publish([heard, unheard])
        assert [(at, type(why)) for at, why in caught.value.failures.items()] == [
            (1, NoSubscribers)
        ]
        assert not caught.value.indeterminate
        (leased,) = await feed.receive(2)
        assert leased.record.id == heard.id


async def test_no_message_for_shared_consumers_is_lost_in_silence_after_a_restart(
    private_broker, topic: str
) -> None:
    """Mosquitto 2.0.11 forgets who shares, until they are back."""
    broker = private_broker("mqtt")
    layer = MQTTLayer(broker.url, client_id="shop-1", shared=True)
    async with layer, joined(layer, topic):
        pass
    await anyio.to_thread.run_sync(broker.restart)
    async with layer:
        sent = record(topic)
        failures: Mapping[int, Exception] = {}
        try:
            await layer.publish([sent])
        except PublishFailed as error:
            failures = error.failures
        assert all(isinstance(why, NoSubscribers) for why in failures.values())
        async with joined(layer, topic) as feed:
            if failures:
                await layer.publish([sent])
            (leased,) = await feed.receive(1)
        assert leased.record.id == sent.id


async def test_where_it_is_not_mandatory_a_publish_to_nobody_is_a_success(
    url: str, topic: str
) -> None:
    async with MQTTLayer(url, mandatory=False) as layer:
        sent = record(topic)
        (receipt,) = await layer.publish([sent])
        assert (receipt.id, receipt.position) == (sent.id, "")
        assert await layer.publish([]) == []


async def test_concurrent_publishers_lose_nothing(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        async with anyio.create_task_group() as tasks:
            for n in range(100):
                tasks.start_soon(layer.publish, [record(topic, n), record(topic, 100 + n)])
        got = []
        while len(got) < 200:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += bodies(some)
        assert sorted(map(int, got)) == list(range(200))


async def test_a_cancelled_publish_leaves_the_layer_usable(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(layer.publish, [record(topic, n) for n in range(50)])
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        await layer.publish([record(topic, "after")])
        got: list[Leased] = []
        while not got or got[-1].record.body != b"after":
            got += await take(feed, 1)
        assert len(set(bodies(got))) == len(got)


async def test_what_the_socket_does_not_take_at_once_is_sent_all_the_same(
    url: str, topic: str
) -> None:
    """By the publish itself: keeping alive, which sends the rest of whatever waits, is far off."""
    async with feed_at(url, topic, keepalive=3600, timeout=5.0) as (layer, feed):
        sent = [record(topic, "x" * 8_000_000), *(record(topic, n) for n in range(3))]
        await layer.publish(sent)
        got = await take(feed, 4)
        assert [one.record.id for one in got] == [one.id for one in sent]
        await feed.settle(acks(got))


async def test_more_than_the_window_is_sent_as_it_frees(url: str, topic: str) -> None:
    """Mosquitto lets 20 be on their way; what is refused here leaves no hole."""
    async with feed_at(url, topic) as (layer, feed):
        batch = [record(topic, n, key="k" * 70_000 if n % 50 == 25 else None) for n in range(300)]
        with pytest.raises(PublishFailed) as caught:
            await layer.publish(batch)
        assert sorted(caught.value.failures) == list(range(25, 300, 50))
        assert caught.value.__cause__ is caught.value.failures[25]
        got: list[str] = []
        while len(got) < 294:
            some = await take(feed, 1)
            await feed.settle(acks(some))
            got += bodies(some)
        assert got == [str(n) for n in range(300) if n % 50 != 25]


async def test_what_the_native_client_publishes_is_answered_to_it(url: str, topic: str) -> None:
    async with feed_at(url, topic) as (layer, feed):
        native = [layer.client.publish(topic, f"native {n}", qos=1) for n in range(3)]
        await layer.publish([record(topic, n) for n in range(3)])
        got = await take(feed, 6)
        assert sorted(bodies(got)) == ["0", "1", "2", "native 0", "native 1", "native 2"]
        await feed.settle(acks(got))
        with anyio.fail_after(10):
            while not all(one.is_published() for one in native):
                await anyio.sleep(0.01)


async def test_a_publish_that_finds_the_connection_closed_makes_another(
    url: str, topic: str
) -> None:
    async with feed_at(url, topic) as (layer, feed):
        layer.client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(published, layer, record(topic, n))
        seen: set[str] = set()
        while len(seen) < 5:
            got = await take(feed, 1)
            await feed.settle(acks(got))
            seen.update(bodies(got))


async def published(layer: MQTTLayer, one: Record) -> None:
    while True:
        try:
            await layer.publish([one])
        except PublishFailed:
            await anyio.sleep(0.01)
        else:
            return
