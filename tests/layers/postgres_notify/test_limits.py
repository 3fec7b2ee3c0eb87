"""What a PostgreSQL server has too little of, or too many of it are: waited for, bounded, told."""

import asyncio
import time
from contextlib import suppress

import anyio
import pytest

from acked import Channel, ConnectionLost, LayerError, PublishFailed
from acked.layers.postgres_notify import PostgresNotifyLayer
from acked.layers.postgres_notify._statements import PAGE
from tests.layers.postgres_kit import RECONNECT, connected, fresh, record, until

pytestmark = pytest.mark.anyio


async def test_a_timeout_is_that_of_the_whole_publish_however_many_wait(private_broker) -> None:
    broker = private_broker("postgres")
    async with Channel(PostgresNotifyLayer(broker.url, timeout=1.0, pool_size=1)) as channel:
        await channel.publish("t", 1)
        broker.pause()
        took: list[float] = []

        async def publish() -> None:
            began = time.monotonic()
            with pytest.raises(PublishFailed):
                await channel.publish("t", 2)
            took.append(time.monotonic() - began)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(publish)
        broker.resume()
        assert len(took) == 20
        assert max(took) < 2.0
        await channel.publish("t", 3)


async def test_check_takes_no_longer_than_the_timeout_for_each_step(private_broker) -> None:
    broker = private_broker("postgres")
    async with Channel(PostgresNotifyLayer(broker.url, timeout=0.5)) as channel:
        await channel.check()
        broker.pause()
        began = time.monotonic()
        with pytest.raises(ConnectionLost):
            await channel.check()
        assert time.monotonic() - began < 2.0
        broker.resume()


async def test_what_finds_no_free_connection_in_time_says_so(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url, timeout=0.3, pool_size=1)
    async with Channel(layer) as channel:
        pool = layer._pool._pool
        assert pool is not None
        async with pool.acquire():
            with pytest.raises(PublishFailed, match="higher pool_size") as caught:
                await channel.publish("t", 1)
        (error,) = caught.value.failures.values()
        assert isinstance(error, LayerError)
        assert error.may_pass
        assert not caught.value.indeterminate


async def test_publishes_wait_for_a_connection_that_the_server_has_no_second_of(
    private_broker,
) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role few login connection limit 2")
    url = broker.url.replace("acked@", "few@")
    layer = PostgresNotifyLayer(url, pool_size=8)
    async with Channel(layer) as channel, channel.subscribe("t") as subscription:
        # By the layer: what waits in the channel goes in one request, on one connection.
        records = (record("t", b"%d" % number) for number in range(50))
        await asyncio.gather(*(layer.publish([one]) for one in records))
        got = [(await anext(subscription)).body for _ in range(50)]
        assert sorted(got) == list(range(50))


async def test_who_has_lost_its_last_connection_and_gets_no_other_is_told_at_once(
    private_broker,
) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role unwanted login")
        url = broker.url.replace("acked@", "unwanted@")
        async with PostgresNotifyLayer(url, timeout=120.0) as layer:
            await admin.execute("alter role unwanted connection limit 0")
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'unwanted'"
            )
            error: Exception = ConnectionLost("not yet")
            with anyio.fail_after(30.0):  # long before its timeout
                while isinstance(error, ConnectionLost):  # by those that found it lost
                    with pytest.raises(PublishFailed) as caught:
                        await layer.publish([record("t")])
                    (error,) = caught.value.failures.values()
            assert "no connection left for us" in str(error)


async def test_a_server_without_a_connection_for_us_is_named_and_the_listener_waits_for_one(
    private_broker,
) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role one login connection limit 1")
        layer = PostgresNotifyLayer(broker.url.replace("acked@", "one@"), timeout=5.0)
        async with Channel(layer) as channel:
            with pytest.raises(LayerError, match="no connection left for us") as caught:
                await channel.subscribe("t").__aenter__()
            assert not isinstance(caught.value, ConnectionLost)
            assert caught.value.may_pass
            await admin.execute("alter role one connection limit 2")
            async with channel.subscribe("t") as subscription:
                await channel.publish("t", 1)
                assert (await anext(subscription)).body == 1


async def test_thousands_of_topics_are_asked_for_in_a_few_statements(
    postgres_broker, proxy
) -> None:
    way = proxy(postgres_broker)
    topics = [fresh('"quoted"') for _ in range(4 * PAGE)]
    layer = PostgresNotifyLayer(way.url, timeout=20.0)
    async with Channel(layer) as channel, channel.subscribe(topics[0]) as one:
        way.delay(0.02)  # two thousand round trips would be 80 seconds
        began = time.monotonic()
        async with channel.subscribe(*topics) as many:
            assert time.monotonic() - began < 5.0
            way.delay(0)
            await channel.publish(topics[-1], "last")
            assert (await anext(many)).body == "last"
            way.cut()
            while not many.statistics().unknown_gaps:
                await anyio.sleep(0.01)
            await channel.publish(topics[-1], "again")
            again = await anext(many)
            assert (again.body, again.gap.causes) == ("again", RECONNECT)
        await channel.publish(topics[0], "kept")
        assert (await anext(one)).body == "kept"
        listening = layer._listening
        assert listening is not None
        await until(lambda: len(listening._confirmed) == 1)


async def test_a_password_that_is_rotated_under_a_listener_ends_nobody(private_broker) -> None:
    broker, valid = private_broker("postgres"), ["first"]
    async with connected(broker.url) as admin:
        await admin.execute("create role pigeon login password 'first'")
        rules = await admin.fetchval("show hba_file")
        await admin.execute(
            f"copy (select 'host all pigeon all scram-sha-256' union all "
            f"select 'host all all all trust') to '{rules}'"
        )
        await admin.fetchval("select pg_reload_conf()")
        url = broker.url.replace("acked@", "pigeon@")
        layer = PostgresNotifyLayer(url, password=lambda: valid[0])
        async with Channel(layer) as channel, channel.subscribe("t") as subscription:
            await admin.execute("alter role pigeon password 'second'")
            ended = (
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pigeon'"
            )
            await admin.execute(ended)
            with pytest.raises(PublishFailed):
                while True:  # what the pool still has may be lost only now
                    await channel.publish("t", 0)
            valid[0] = "second"
            while not subscription.statistics().unknown_gaps:
                await anyio.sleep(0.02)
            await channel.publish("t", 1)
            assert (await anext(subscription)).body == 1


async def test_listening_on_one_server_and_publishing_on_another_is_noticed(
    private_broker, proxy
) -> None:
    """As after a failover, when the old primary comes back and is one still."""
    old, new = private_broker("postgres"), private_broker("postgres")
    way = proxy(old)
    url = f"postgresql://acked@127.0.0.1:{way.port},127.0.0.1:{new.port}/postgres"
    way.refuse()
    layer = PostgresNotifyLayer(url, heartbeat=0.4, pool_size=1)
    async with Channel(layer) as channel, channel.subscribe("t") as subscription:
        way.accept()  # the old one is back, and first
        async with connected(new.url) as admin:
            pid = (await layer._pool.session()).number
            await admin.execute(f"select pg_terminate_backend({pid})")
        with anyio.fail_after(20):
            while not subscription.statistics().unknown_gaps:
                with suppress(PublishFailed):
                    await channel.publish("t", "unheard")
                await anyio.sleep(0.05)
            await channel.publish("t", "heard")
            while (await anext(subscription)).body != "heard":
                pass


async def test_an_address_that_leads_to_two_servers_for_good_is_an_error(private_broker) -> None:
    """As behind a balancer that sends each connection to another one."""
    first, second = private_broker("postgres"), private_broker("postgres")
    layer = PostgresNotifyLayer(first.url, heartbeat=0.2, timeout=5.0)
    elsewhere = PostgresNotifyLayer(second.url)
    async with elsewhere, Channel(layer) as channel:
        assert layer._listening is not None
        layer._listening._publishers = elsewhere._pool
        with pytest.raises(LayerError, match="leads to several servers") as caught:
            await channel.subscribe("t").__aenter__()
        assert not isinstance(caught.value, ConnectionLost)
