"""Opening and closing the layer on PostgreSQL: nothing is left behind."""

import asyncio
import socket
import time

import anyio
import pytest

from acked import (
    Channel,
)
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.postgres_kit import (
    acked_tasks,
    fresh,
    sockets,
    until,
)

pytestmark = pytest.mark.anyio


async def test_the_kernel_watches_every_connection(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()):
        listening = layer._listening._live  # type: ignore[union-attr]
        async with layer._pool.borrowed() as publishing:  # type: ignore[union-attr]
            for connection in (listening, publishing):
                sock = connection._transport.get_extra_info("socket")
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_the_layer_can_be_opened_again_and_left_by_another_task(postgres_broker) -> None:
    layer = PostgresNotifyLayer(postgres_broker.url)
    topic = fresh()
    for _ in range(2):
        channel = Channel(layer)
        await asyncio.create_task(channel.__aenter__())
        async with channel.subscribe(topic) as subscription:
            await channel.publish(topic, 1)
            assert (await anext(subscription)).body == 1
        await asyncio.create_task(channel.aclose())
    assert not acked_tasks()


async def test_nothing_is_left_after_closing(postgres_broker) -> None:
    before = sockets(), asyncio.all_tasks()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(fresh()) as subscription:
        topic = next(iter(layer._listening.topics()))  # type: ignore[union-attr]
        await asyncio.gather(*(channel.publish(topic, number) for number in range(20)))
        await anext(subscription)
        assert sockets() > before[0]
    assert (sockets(), asyncio.all_tasks()) == before


async def test_nothing_is_left_after_closing_in_a_black_hole(postgres_broker, proxy) -> None:
    way = proxy(postgres_broker)
    before = asyncio.all_tasks()
    async with Channel(PostgresNotifyLayer(way.url)) as channel:
        async with channel.subscribe(fresh()):
            way.black_hole()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert asyncio.all_tasks() == before
    way.heal()


async def test_nothing_is_left_of_a_cancelled_opening(postgres_broker, proxy) -> None:
    way = proxy(postgres_broker)
    way.black_hole()
    before = asyncio.all_tasks()
    with anyio.move_on_after(0.1):
        await PostgresNotifyLayer(way.url).__aenter__()
    way.heal()
    await until(lambda: way.statistics().open_connections == 0)
    assert asyncio.all_tasks() == before


async def test_publishing_given_up_anywhere_leaves_those_who_listen_alone(postgres_broker) -> None:
    """No message is half published, and the connection that listens is not lost."""
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        for number in range(60):
            publishing = asyncio.create_task(channel.publish(topic, number))
            await asyncio.sleep(number / 60 * 0.003)
            publishing.cancel()
            await asyncio.wait([publishing])
        await channel.publish(topic, "last")
        with anyio.fail_after(10):
            got = [await anext(subscription)]
            while got[-1].body != "last":
                got.append(await anext(subscription))
        *bodies, _ = [message.body for message in got]
        assert bodies == sorted(set(bodies))
        assert all(message.gap is None for message in got)
