"""What waits to be read: for whom, how much, and what becomes of what nobody asks for."""

import asyncio
import ssl
from typing import Any

import anyio
import pytest
from redis import ConnectionError as RedisConnectionError

from acked import ChannelClosed, ConfigurationError, ConnectionLost, GapCause
from acked.compat import _backend
from acked.compat.broadcaster import Broadcast
from acked.compat.broadcaster.backends.kafka import KafkaBackend
from acked.compat.broadcaster.backends.redis import RedisStreamBackend
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError
from acked.compat.starlette_web.common.utils.serializers import BytesSerializer
from acked.compat.starlette_web.contrib.mqtt import MQTTChannelLayer
from compose.lifecycle import Broker
from tests.compat.broadcaster_kit import SOON, name
from tests.compat.scenarios import _layers
from tests.compat.starlette_web_kit import ON_BOTH
from tests.fix_proxy import Proxies

pytestmark = pytest.mark.anyio


async def test_an_event_whose_reader_was_cancelled_is_read_by_another() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        first, second = (asyncio.create_task(subscriber.get()) for _ in range(2))
        for _ in range(3):  # so that both wait
            await asyncio.sleep(0)
        await broadcast.publish("room", "hello")
        first.cancel()  # woken for it already
        with anyio.fail_after(SOON):
            assert (await second).message == "hello"
        assert first.cancelled()


async def test_a_reader_that_gives_up_is_not_woken_in_vain() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        with anyio.move_on_after(0.01):
            await subscriber.get()
        await broadcast.publish("room", "hello")
        with anyio.fail_after(SOON):
            assert (await subscriber.get()).message == "hello"


@ON_BOTH
async def test_what_next_published_is_not_asked_for_is_bounded_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_backend, "CAPACITY", 2)
    layer = InMemoryChannelLayer()
    await layer.connect()
    await layer.subscribe("room")
    for number in range(5):
        await layer.publish("room", number)
    assert [(await layer.next_published()).message for _ in range(2)] == [0, 1]
    await layer.publish("room", "after")
    event = await layer.next_published()
    assert event.message == "after"
    assert (event.gap.missed, event.gap.causes) == (3, {GapCause.OVERFLOW})
    await layer.disconnect()


@ON_BOTH
async def test_nothing_comes_from_what_is_not_connected() -> None:
    layer = InMemoryChannelLayer()
    with pytest.raises(ChannelClosed, match="not connected"):
        await layer.next_published()
    await layer.connect()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_expect_the_end, layer)
        await anyio.lowlevel.checkpoint()
        await layer.disconnect()
    await layer.disconnect()


async def _expect_the_end(layer: InMemoryChannelLayer) -> None:
    with pytest.raises(ChannelClosed):
        await layer.next_published()


async def test_without_a_channel_next_published_raises_a_lost_connection(
    redis_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(redis_broker)
    layer = _layers.layer_class("redis:", "acked.compat.starlette_web")(
        **_layers.options(way.url), on_loss="raise"
    )
    await layer.connect()
    await layer.subscribe(name())
    way.cut()
    with anyio.fail_after(SOON), pytest.raises(ConnectionLost) as caught:
        await layer.next_published()
    assert isinstance(caught.value, RedisConnectionError)
    await layer.disconnect()


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (lambda: KafkaBackend(urls=[]), ConfigurationError, "names no server"),
        (lambda: MQTTChannelLayer(ssl=ssl.create_default_context()), NotSupportedError, "bool"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(wrong: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        wrong()


def test_partitions_of_new_kafka_topics_may_be_chosen() -> None:
    assert "create_topics=3" in KafkaBackend("kafka://localhost:1?create_topics=3")._url
    assert "create_topics=1" in KafkaBackend("kafka://localhost:1")._url


def test_a_serializer_of_your_own_says_what_it_lacks() -> None:
    for method in (BytesSerializer().serialize, BytesSerializer().deserialize):
        with pytest.raises(NotImplementedError):
            method(b"anything")


async def test_redis_streams_take_a_message_from_an_unconnected_publisher_that_fails(
    redis_broker: Broker, proxy: Proxies
) -> None:
    way = proxy(redis_broker)
    url = f"redis-stream://{way.url.partition('://')[2]}"
    way.refuse()
    publisher = Broadcast(backend=RedisStreamBackend(url))
    with pytest.raises(RedisConnectionError):
        await publisher.publish(name(), "hello")
    way.accept()
    await publisher.publish(name(), "hello")
    assert "not connected" in repr(publisher)
