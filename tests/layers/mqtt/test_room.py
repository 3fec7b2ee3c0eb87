"""MQTT: what waits to be taken is bounded, and nothing that is waited for is behind it for ever."""

import anyio
import pytest

from acked import Channel
from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._receiver import MOST_WAITING
from tests.fix_proxy import Proxies
from tests.layers.mqtt.kit import acks, bodies, feed_at, joined, record, take

pytestmark = pytest.mark.anyio

LARGE = "x" * (MOST_WAITING // 4)
COUNT = 60
"""Six times what waits here and lies in the sockets."""


async def owed(url: str, topic: str, count: int = COUNT) -> None:
    """Let the group be owed much, each with its number in front."""
    async with feed_at(url, topic) as (_, _feed):
        pass
    async with MQTTLayer(url) as layer:
        for number in range(count):
            await layer.publish([record(topic, f"{number} {LARGE}")])


def numbers(leased) -> list[int]:
    return [int(body.partition(" ")[0]) for body in bodies(leased)]


def waiting(feed) -> int:
    return sum(held.size for held in feed._receiver._held.values())


async def test_a_consumer_joins_by_a_session_that_is_owed_more_than_it_has_room_for(
    url: str, topic: str
) -> None:
    await owed(url, topic)
    async with feed_at(url, topic) as (layer, feed):
        assert not feed._is_joined  # type: ignore[attr-defined] # the answers are behind
        got: list = []
        while len(got) < COUNT:
            assert waiting(feed) < 2 * MOST_WAITING
            some = await take(feed, 1)
            got += some
            await feed.settle(acks(some))
        assert numbers(got) == list(range(COUNT))
        await layer.publish([record(topic, "-1 new")])
        assert numbers(await take(feed, 1)) == [-1]
        assert feed._is_joined  # type: ignore[attr-defined]


async def test_a_consumer_that_takes_nothing_for_long_keeps_its_connection(
    url: str, topic: str
) -> None:
    await owed(url, topic)
    async with feed_at(url, topic, keepalive=1) as (_, feed):
        connection = feed._connection  # type: ignore[attr-defined]
        client = connection.client
        pings = 0
        with anyio.fail_after(30):
            while pings < 4:  # unanswered, as far as it can see: two would be the end
                before = client._last_msg_out
                while client._last_msg_out == before:
                    await anyio.sleep(0.05)
                pings += 1
        assert connection.broken is None
        assert numbers(await take(feed, COUNT)) == list(range(COUNT))


async def test_leaving_with_much_that_nobody_read_is_quick_and_loses_nothing(
    url: str, topic: str
) -> None:
    await owed(url, topic)
    async with feed_at(url, topic) as (_, feed):
        got = await take(feed, 3)
        await feed.settle(acks(got))
        began = anyio.current_time()
    assert anyio.current_time() - began < 2.0  # what closing gives a broker that does not answer
    async with feed_at(url, topic) as (_, feed):
        assert numbers(await take(feed, COUNT - 3)) == list(range(3, COUNT))


async def test_whoever_was_succeeded_goes_also_where_it_hears_of_it_late(
    url: str, topic: str, proxy: Proxies
) -> None:
    """Its session was another's meanwhile, and the mark that says so is behind what is owed."""
    between = proxy(int(url.rpartition(":")[2]))
    layer = MQTTLayer(f"mqtt://127.0.0.1:{between.port}")
    async with layer, joined(layer, topic) as old:
        between.cut()
        async with feed_at(url, topic):
            pass
        await owed(url, topic)
        with anyio.fail_after(40), pytest.raises(LayerError, match="taken over"):
            while True:
                await drained(old)


async def drained(feed) -> None:
    try:
        await feed.settle(acks(await feed.receive(10)))
    except ConnectionLost:
        await anyio.sleep(0.02)


async def test_a_reader_that_is_slow_gets_all_in_order(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url)) as channel:
        async with channel.subscribe(topic, group="g", in_flight=4) as sub:
            for number in range(COUNT):
                await channel.publish(topic, f"{number} {LARGE}")
            seen: list[int] = []
            with anyio.fail_after(60):
                async for delivery in sub:
                    seen.append(int(str(delivery.body).partition(" ")[0]))
                    await delivery.ack()
                    if len(seen) == COUNT:
                        break
    assert seen == list(range(COUNT))
