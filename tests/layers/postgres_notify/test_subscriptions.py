"""Several subscriptions on the one connection that listens to PostgreSQL."""

import anyio
import pytest

from acked import (
    Channel,
    Gap,
    GapCause,
    Overflow,
)
from acked.layers._shared.blocked_sink import RECORD_BYTES
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.postgres_kit import acked_tasks, connected, fresh

pytestmark = pytest.mark.anyio


async def test_the_last_to_leave_a_topic_unlistens_and_the_others_go_on(private_broker) -> None:
    url = private_broker("postgres").url
    layer = PostgresNotifyLayer(url)
    last = "select query from pg_stat_activity where query like '%LISTEN%' and pid <> $1"
    async with Channel(layer) as channel, connected(url) as watcher:

        async def last_statement() -> str:
            return await watcher.fetchval(last, watcher.get_server_pid())

        async with channel.subscribe("kept") as kept:
            async with channel.subscribe("shared") as first:
                async with channel.subscribe("shared", "kept"):
                    assert await last_statement() == 'LISTEN "shared"'
                await channel.publish("shared", 1)
                assert (await anext(first)).body == 1
                assert repr(layer).endswith("subscriptions: 'kept' 1, 'shared' 1>")
            while await last_statement() != 'UNLISTEN "shared"':
                await anyio.sleep(0.01)
            await channel.publish("kept", 2)
            assert (await anext(kept)).body == 2
        async with channel.subscribe("shared") as again:
            await channel.publish("shared", 3)
            assert (await anext(again)).body == 3


async def test_subscribers_that_come_and_go_at_once_are_never_deaf(postgres_broker) -> None:
    topics = [fresh(), fresh()]
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:

        async def come_and_go(number: int) -> None:
            topic = topics[number % 2]
            for turn in range(10):
                async with channel.subscribe(topic) as subscription:
                    await channel.publish(topic, [number, turn])
                    async for message in subscription:
                        if message.body == [number, turn]:
                            break

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(come_and_go, number)


async def test_a_cancelled_subscriber_leaves_the_others_alone(postgres_broker) -> None:
    topic = fresh()
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:

        async def subscribe() -> None:
            async with channel.subscribe(topic, fresh()):
                await anyio.sleep_forever()

        async with channel.subscribe(topic) as kept:
            for number in range(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(subscribe)
                    for _ in range(number):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            await channel.publish(topic, 1)
            assert (await anext(kept)).body == 1


async def test_a_cancelled_publish_leaves_the_layer_usable(postgres_broker) -> None:
    topic = fresh()
    # One connection, which is there already: asyncpg leaves a future behind, whose exception
    # nobody looks at, where connecting is cancelled in the middle of asking for TLS.
    layer = PostgresNotifyLayer(postgres_broker.url, pool_size=1)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        for number in range(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(channel.publish, topic, number)
                for _ in range(number % 10):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await channel.publish(topic, "last")
        got = []
        while not got or got[-1] != "last":
            got.append((await anext(subscription)).body)
        assert len(set(got)) == len(got)
        assert got == [*sorted(got[:-1]), "last"]


async def test_a_stuck_subscription_stops_neither_others_nor_publishers(
    postgres_broker, monkeypatch
) -> None:
    topic, waiting, total = fresh(), 1024, 1024 + 500
    size = len('"0000"')  # of each body
    monkeypatch.setattr(
        "acked.layers.postgres_notify._listener.BACKLOG_BYTES", waiting * (RECORD_BYTES + size)
    )
    bodies = [f"{number:04}" for number in range(total)]
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=10, overflow=Overflow.BLOCK) as stuck,
        channel.subscribe(topic, capacity=total) as quick,
    ):
        await channel.publish_many(topic, bodies)
        assert [(await anext(quick)).body for _ in range(total)] == bodies
        assert stuck.statistics().buffered == 10
        kept = [await anext(stuck) for _ in range(10 + waiting)]
        assert [message.body for message in kept] == bodies[: 10 + waiting]
        await channel.publish(topic, "later")
        after = await anext(stuck)
        missed = total - 10 - waiting
        assert (after.body, after.gap) == ("later", Gap(missed, frozenset({GapCause.OVERFLOW})))
        assert stuck.statistics().missed == missed


async def test_leaving_a_stuck_subscription_does_not_wait(postgres_broker) -> None:
    topic = fresh()
    async with Channel(PostgresNotifyLayer(postgres_broker.url)) as channel:
        async with channel.subscribe(topic) as witness:
            async with channel.subscribe(topic, capacity=1, overflow=Overflow.BLOCK):
                await channel.publish_many(topic, range(50))
                for _ in range(50):
                    await anext(witness)
    assert not acked_tasks()


async def test_a_burst_beyond_what_waits_is_dropped_by_the_sinks_and_counted(
    postgres_broker, monkeypatch
) -> None:
    monkeypatch.setattr("acked.layers.postgres_notify._arrivals.MOST_ARRIVALS", 50)
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url)) as channel,
        channel.subscribe(topic, capacity=10) as small,
        channel.subscribe(topic, capacity=500) as large,
    ):
        await channel.publish_many(topic, range(500))
        assert [(await anext(large)).body for _ in range(500)] == list(range(500))
        statistics = small.statistics()
        assert statistics.missed + statistics.buffered == 500
