"""MQTT: connections cut, held up and made again; nothing is acked on another one."""

import itertools
import logging

import anyio
import anyio.to_thread
import pytest

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.types import Leased, Outcome, Settlement, Verb
from tests.layers.mqtt.kit import (
    acks,
    bodies,
    broker_has_read,
    cut,
    feed_at,
    forget_session,
    record,
    take,
    what_is_owed,
)

pytestmark = pytest.mark.anyio


async def test_a_stale_settlement_is_lost_and_never_sent_on_the_new_connection(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(3)])
        stale = await take(feed, 3)
        await cut(between, feed)
        with pytest.raises(ConnectionLost):
            await take(feed, 1)
        again = await take(feed, 3)
        assert {one.attempt for one in again} == {2}
        for verb in Verb:
            batch = [Settlement(one.token, verb) for one in stale]
            assert await feed.settle(batch) == [Outcome.LOST] * 3
        await broker_has_read(feed)
    assert await what_is_owed(url, topic) == ["0", "1", "2"]


async def test_what_was_acked_out_of_order_does_not_come_again_over_a_reconnect(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(4)])
        got = await take(feed, 4)
        assert await feed.settle(acks(got[1:3])) == [Outcome.SENT] * 2
        between.cut()
        again = await take(feed, 2, reconnect=True)
        assert bodies(again) == ["0", "3"]
        assert await feed.settle(acks(again)) == [Outcome.SENT] * 2
    assert await what_is_owed(url, topic) == []


async def test_attempts_count_nacks_over_a_reconnect_and_spare_what_nobody_saw(
    mqtt_broker, proxy, url: str, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (_, feed):
        await publisher.publish([record(topic, n) for n in range(2)])
        (first,) = await take(feed, 1)
        await feed.settle([Settlement(first.token, Verb.NACK)])
        (first,) = await take(feed, 1)
        await broker_has_read(feed)  # the second one has arrived, too
        await cut(between, feed)
        again = await take(feed, 2, reconnect=True)
        assert [(one.record.body, one.attempt) for one in again] == [(b"0", 3), (b"1", 1)]


@pytest.mark.parametrize("after", [200, 1_000, 5_000])
async def test_nothing_accepted_is_lost_when_connections_are_cut_in_mid_stream(
    mqtt_broker, proxy, url: str, topic: str, after: int
) -> None:
    between = proxy(mqtt_broker)
    accepted: set[str] = set()
    seen: set[str] = set()
    async with feed_at(between.url, topic, in_flight=20) as (layer, feed):

        async def publish() -> None:
            for n in range(300):
                while True:
                    try:
                        await layer.publish([record(topic, n)])
                    except PublishFailed:
                        await anyio.sleep(0.01)
                    else:
                        accepted.add(str(n))
                        break
                if n % 100 == 50:
                    between.cut_after_bytes(after, "to_client")
                    between.cut_after_bytes(after * 2, "to_server")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            while len(seen) < 300:
                got = await take(feed, 1, reconnect=True)
                seen.update(bodies(got))
                await feed.settle(acks(got))
        assert seen == accepted
    assert between.statistics().cut_connections > 0


async def test_sessions_survive_a_restart_of_the_broker(private_broker, topic: str) -> None:
    broker = private_broker("mqtt")
    async with feed_at(broker.url, topic) as (layer, feed):
        await layer.publish([record(topic, n) for n in range(3)])
        got = await take(feed, 3)
        await feed.settle(acks(got[:1]))
        await broker_has_read(feed)
        await anyio.to_thread.run_sync(broker.restart)
        assert bodies(await take(feed, 2, reconnect=True)) == ["1", "2"]
        with anyio.fail_after(10):
            await layer.publish([record(topic, 3)])  # by a new connection
        assert bodies(await take(feed, 1)) == ["3"]


async def test_nothing_accepted_is_lost_over_three_restarts_in_mid_stream(
    private_broker, topic: str
) -> None:
    broker = private_broker("mqtt")
    accepted: set[str] = set()
    is_over = False
    async with feed_at(broker.url, topic) as (layer, feed):

        async def publish() -> None:
            for number in itertools.count():
                is_last = is_over  # so that one comes to a consumer that knows that it is over
                try:
                    await layer.publish([record(topic, number)])
                except PublishFailed:
                    await anyio.sleep(0.02)
                else:
                    accepted.add(str(number))
                    if is_last:
                        return

        async def restart() -> None:
            nonlocal is_over
            for turn in range(1, 4):
                while len(accepted) < 100 * turn:
                    await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(broker.restart)
            while len(accepted) < 400:
                await anyio.sleep(0.01)
            is_over = True

        seen: set[str] = set()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                tasks.start_soon(restart)
                while not is_over or not accepted <= seen:
                    got = await take(feed, 1, reconnect=True)
                    seen.update(bodies(got))
                    await feed.settle(acks(got))


async def test_a_session_that_the_broker_forgot_is_a_warning_and_consuming_goes_on(
    mqtt_broker, proxy, url: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    between = proxy(mqtt_broker)
    async with MQTTLayer(url) as publisher, feed_at(between.url, topic) as (layer, feed):
        (client_id,) = layer._client_ids._taken
        between.refuse()
        between.cut()
        with pytest.raises(ConnectionLost):
            await take(feed, 1)
        await anyio.to_thread.run_sync(forget_session, url, client_id)
        between.accept()
        got: list[Leased] = []

        async def consume() -> None:
            got.extend(await take(feed, 1, reconnect=True))

        with caplog.at_level(logging.WARNING, logger="acked.layers.mqtt"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consume)
                while "forgotten the session" not in caplog.text or not feed._is_joined:
                    await anyio.sleep(0.01)
                await publisher.publish([record(topic, "after")])
        assert bodies(got) == ["after"]


async def test_a_defect_over_what_arrived_is_no_lost_connection(url: str, topic: str) -> None:
    """It would come again, over each new connection."""

    def broken(_: int) -> bool:
        raise ZeroDivisionError

    async with feed_at(url, topic) as (layer, feed):
        feed._connection.client.read_packets = broken
        await layer.publish([record(topic)])
        with pytest.raises(LayerError, match="failed: ZeroDivisionError") as caught:
            await take(feed, 1)
        assert not isinstance(caught.value, ConnectionLost)


async def test_a_silent_network_is_noticed_within_some_keepalives(
    mqtt_broker, proxy, topic: str
) -> None:
    between = proxy(mqtt_broker)
    async with feed_at(between.url, topic, keepalive=1, timeout=1.0) as (layer, feed):
        between.black_hole()
        with anyio.fail_after(6), pytest.raises(ConnectionLost):
            await feed.receive(1)
        with anyio.fail_after(6), pytest.raises(PublishFailed):
            await layer.publish([record(topic)])
        between.cut()
        between.heal()
        await layer.publish([record(topic, "healed")])
        with anyio.fail_after(10):
            assert bodies(await take(feed, 1, reconnect=True)) == ["healed"]
