"""Numbered messages on PostgreSQL while sessions end and the server restarts, and an idle reader."""

import time
from collections.abc import Awaitable, Callable

import anyio
import pytest

from acked import Channel, Gap, PublishFailed
from acked.layers.postgres_notify import PostgresNotifyLayer
from compose.lifecycle import Broker
from tests.layers.postgres_kit import connected, fresh

pytestmark = pytest.mark.anyio

Fault = Callable[[Broker], Awaitable[None]]


async def end_the_listening_sessions(broker: Broker) -> None:
    async with connected(broker.url) as admin:
        ended = await admin.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'reader' and query not like '%unnest%'"
        )
        assert ended


async def restart(broker: Broker) -> None:
    await anyio.to_thread.run_sync(broker.restart)


async def crash(broker: Broker) -> None:
    await anyio.to_thread.run_sync(broker.kill)
    await anyio.to_thread.run_sync(broker.start)


@pytest.mark.parametrize("fault", [end_the_listening_sessions, restart, crash])
async def test_there_is_never_a_miss_without_a_gap(private_broker, fault: Fault) -> None:
    broker, topic = private_broker("postgres"), fresh()
    accepted: list[int] = []
    arrived: list[tuple[int, Gap | None]] = []
    is_over, last_is_known = anyio.Event(), anyio.Event()

    async def publish(channel: Channel) -> None:
        number = 0
        while not is_over.is_set():
            batch = range(number, number + 50)
            number += 50
            try:
                await channel.publish_many(topic, batch)
            except PublishFailed:
                await anyio.sleep(0.02)
            else:
                accepted.extend(batch)
            await anyio.sleep(0.001)
        last_is_known.set()

    async with (
        Channel(PostgresNotifyLayer(broker.url)) as publisher,
        Channel(PostgresNotifyLayer(f"{broker.url}?application_name=reader")) as channel,
        channel.subscribe(topic, capacity=100_000) as subscription,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(publish, publisher)
        for turn in range(1, 4):
            before = len(arrived)
            async for message in subscription:
                arrived.append((message.body, message.gap))
                if len(arrived) == before + 500:
                    tasks.start_soon(fault, broker)
                if len(arrived) > before + 500 and subscription.statistics().unknown_gaps >= turn:
                    break
        is_over.set()
        await last_is_known.wait()
        await publisher.publish(topic, accepted[-1] + 1)
        async for message in subscription:
            arrived.append((message.body, message.gap))
            if message.body > accepted[-1]:
                break
    numbers = [number for number, _ in arrived]
    assert numbers == sorted(set(numbers))
    missed = set(accepted).difference(numbers)
    told, last = set[int](), -1
    for number, gap in arrived:
        if gap is not None:
            assert gap.missed is None
            told.update(range(last + 1, number))
        last = number
    assert missed <= told


async def test_an_idle_subscription_takes_less_than_a_hundredth_of_a_core(postgres_broker) -> None:
    async with (
        Channel(PostgresNotifyLayer(postgres_broker.url, heartbeat=2.0)) as channel,
        channel.subscribe(fresh(), fresh()) as subscription,
    ):
        spent, began = time.process_time(), time.monotonic()
        with anyio.move_on_after(5.0):
            await anext(subscription)
        spent, passed = time.process_time() - spent, time.monotonic() - began
        assert spent < passed * 0.01
