"""Connections to PostgreSQL that are cut, ended, frozen or refused: never a miss without a gap."""

import time

import anyio
import pytest

from acked import (
    Channel,
    ConnectionLost,
    Gap,
    LayerError,
    Overflow,
    PublishFailed,
)
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.postgres_kit import (
    RECONNECT,
    connected,
    fresh,
    is_listening,
    published_until_gap,
    record,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_cut_connection_is_a_gap_and_then_messages_arrive(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic) as subscription,
        channel.subscribe(fresh(), topic) as other,
    ):
        await channel.publish(topic, "before")
        assert (await anext(subscription)).gap is None
        assert (await anext(other)).gap is None
        for _ in range(2):
            way.cut()
            assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)
        assert other.statistics().unknown_gaps == 2


async def test_what_arrived_before_a_loss_is_passed_on_before_its_gap(
    postgres_broker, proxy, monkeypatch
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        monkeypatch.setattr("acked.layers.postgres_notify._arrivals.ARRIVALS_AT_ONCE", 0)
        await channel.publish(topic, "before")
        await until(lambda: layer._listening._arrivals)
        way.cut()
        await until(lambda: subscription.statistics().unknown_gaps == 1)
        monkeypatch.undo()
        await channel.publish(topic, "after")
        with anyio.fail_after(10):
            told = [((one := await anext(subscription)).body, one.gap) for _ in range(2)]
    assert told == [("before", None), ("after", Gap(None, RECONNECT))]


async def test_a_restart_of_the_server_is_a_gap(private_broker) -> None:
    broker, topic = private_broker("postgres"), fresh()
    layer = PostgresNotifyLayer(broker.url)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await anyio.to_thread.run_sync(broker.restart)
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_session_ended_by_an_administrator_is_a_gap(private_broker) -> None:
    url, topic = private_broker("postgres").url, fresh()
    async with (
        Channel(PostgresNotifyLayer(url)) as channel,
        channel.subscribe(topic) as subscription,
        connected(url) as admin,
    ):
        ended = await admin.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        assert len(ended) >= 2
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_black_hole_is_noticed_within_the_heartbeat(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, heartbeat=0.6, timeout=1.0)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        before = way.statistics().connections
        way.black_hole()
        began = time.monotonic()
        # Noticed: it tries to connect again.
        await until(lambda: way.statistics().connections > before)
        assert time.monotonic() - began < 0.6 + 0.4
        way.heal()
        assert await published_until_gap(channel, topic, subscription) == Gap(None, RECONNECT)


async def test_a_publish_into_a_black_hole_fails_as_unknown_in_time(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    async with Channel(PostgresNotifyLayer(way.url, timeout=0.5)) as channel:
        await channel.publish(topic, 1)
        way.black_hole()
        began = time.monotonic()
        with pytest.raises(PublishFailed, match="unknown") as caught:
            await channel.publish(topic, 2)
        assert time.monotonic() - began < 1.5
        assert caught.value.indeterminate
        assert isinstance(caught.value.failures[0], ConnectionLost)
        way.heal()
        await channel.publish(topic, 3)


async def test_a_publish_cut_at_any_byte_is_whole_or_absent_and_never_silent(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as steady,
        steady.subscribe(topic) as subscription,
        Channel(PostgresNotifyLayer(way.url, pool_size=1)) as channel,
    ):
        accepted, unknown = set(), set()
        for number in range(40):
            way.cut_after_bytes(number * 11, "to_client" if number % 2 else "to_server")
            try:
                await channel.publish(topic, number)
                accepted.add(number)
            except PublishFailed as failure:
                if failure.indeterminate:
                    unknown.add(number)
        way.cut_after_bytes(10**9, "to_client")
        way.cut_after_bytes(10**9, "to_server")
        await steady.publish(topic, "last")
        got = []
        while not got or got[-1] != "last":
            got.append((await anext(subscription)).body)
        arrived = set(got[:-1])
        assert len(arrived) == len(got) - 1
        assert accepted <= arrived <= accepted | unknown
        assert unknown


async def test_nobody_is_listened_to_with_a_refused_server_and_the_error_is_raised(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, reconnect_timeout=0.2)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        way.refuse()
        way.cut()
        with pytest.raises(ConnectionLost, match=f"127.0.0.1:{way.port}/postgres"):
            await anext(subscription)
        with pytest.raises(ConnectionLost):
            async with channel.subscribe(topic):
                pass
        with pytest.raises(PublishFailed, match="none was accepted") as caught:
            await channel.publish(topic, 1)
        assert not caught.value.indeterminate
        way.accept()
        async with channel.subscribe(topic) as again:
            await channel.publish(topic, 2)
            assert (await anext(again)).body == 2


async def test_subscribing_while_it_reconnects_waits_for_the_server(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url)
    async with Channel(layer) as channel:
        async with channel.subscribe(topic), anyio.create_task_group() as tasks:
            way.refuse()
            way.cut()
            await until(lambda: not is_listening(layer))

            async def subscribe() -> None:
                async with channel.subscribe(topic) as late:
                    await channel.publish(topic, "news")
                    message = await anext(late)
                    assert (message.body, message.gap) == ("news", None)

            tasks.start_soon(subscribe)
            await anyio.wait_all_tasks_blocked()
            way.accept()


async def test_subscribing_without_a_connection_fails_in_time(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, timeout=1.5)
    async with Channel(layer) as channel, channel.subscribe(topic):
        way.refuse()
        way.cut()
        await until(lambda: not is_listening(layer))
        with pytest.raises(ConnectionLost, match="check that PostgreSQL runs"):
            await channel.subscribe(topic).__aenter__()


async def test_with_on_loss_raise_a_lost_connection_is_an_error(postgres_broker, proxy) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, on_loss="raise")
    async with Channel(layer) as channel:
        async with channel.subscribe(topic) as subscription:
            await channel.publish(topic, "buffered")
            await until(lambda: subscription.statistics().buffered == 1)
            way.cut()
            await until(lambda: "none" in repr(layer))
            assert (await anext(subscription)).body == "buffered"
            with pytest.raises(ConnectionLost, match=str(way.port)):
                await anext(subscription)
        async with channel.subscribe(topic) as again:
            await layer.publish([record(topic)])
            assert (await anext(again)).gap is None


async def test_a_stuck_subscription_is_told_of_gap_and_failure_in_order(
    postgres_broker, proxy
) -> None:
    way, topic = proxy(postgres_broker), fresh()
    layer = PostgresNotifyLayer(way.url, on_loss="raise")
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic, capacity=1, overflow=Overflow.BLOCK) as stuck,
        channel.subscribe(topic) as witness,
    ):
        await channel.publish_many(topic, range(5))
        for _ in range(5):
            await anext(witness)
        way.cut()
        with pytest.raises(ConnectionLost):
            await anext(witness)
        assert [(await anext(stuck)).body for _ in range(5)] == list(range(5))
        with pytest.raises(ConnectionLost):
            await anext(stuck)


async def test_a_defect_of_the_listening_task_is_raised_and_nobody_waits_for_ever(
    postgres_broker, monkeypatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()) as subscription:
        monkeypatch.setattr(layer._listening, "_go_live", broken)
        with pytest.raises(LayerError, match="ZeroDivisionError"):
            await channel.subscribe(fresh()).__aenter__()
        with pytest.raises(LayerError, match="report it"):
            await anext(subscription)
