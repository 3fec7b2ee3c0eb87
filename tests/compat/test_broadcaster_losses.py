"""A lost connection is made again and told, or raised as the driver's own, or the end: as chosen."""

import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Literal

import anyio
import asyncpg
import pytest
import redis.asyncio
from aiokafka.errors import KafkaConnectionError

from acked import ConnectionLost, GapCause, LayerError, PublishFailed
from acked.compat.broadcaster import Broadcast
from acked.compat.broadcaster._base import Subscriber, Unsubscribed
from compose.lifecycle import Broker
from tests.fix_proxy import Proxies, Proxy

pytestmark = pytest.mark.anyio

SOON = 20.0
OnLoss = Literal["reconnect", "raise", "end"]

DRIVERS: dict[str, tuple[type[Exception], ...]] = {
    "redis": (redis.ConnectionError,),
    "redis-stream": (redis.ConnectionError,),
    "postgres": (asyncpg.PostgresConnectionError, ConnectionError),
    "kafka": (KafkaConnectionError,),
}
FORGETFUL = ("redis", "postgres")
"""Schemes whose brokers do not keep what was published while nobody listened."""


def name() -> str:
    return f"c{uuid.uuid4().hex}"


class Line:
    """A way to a real broker that can be cut, under the URL of a scheme."""

    def __init__(self, scheme: str, proxy: Proxy) -> None:
        self.url = f"{scheme}://{proxy.url.partition('://')[2]}"
        self.driver = DRIVERS[scheme]
        self.proxy = proxy


@pytest.fixture
def line(request: pytest.FixtureRequest, proxy: Proxies) -> Line:
    """A way to the shared broker of the scheme that the test's parameter names."""
    scheme: str = request.param
    broker: Broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
    return Line(scheme, proxy(broker))


async def soon(what: Awaitable[Any]) -> Any:
    with anyio.fail_after(SOON):
        return await what


async def after_a_cut(
    line: Line, on_loss: OnLoss, use: Callable[[Broadcast, Subscriber, str], Awaitable[None]]
) -> None:
    """Subscribe, read one message, cut the way, and let `use` go on."""
    channel = name()
    async with Broadcast(line.url, on_loss=on_loss) as broadcast:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "before")
            assert (await soon(subscriber.get())).message == "before"
            line.proxy.cut()
            await use(broadcast, subscriber, channel)


@pytest.mark.parametrize("line", DRIVERS, indirect=True)
async def test_by_default_a_lost_connection_is_made_again(line: Line) -> None:
    async def use(broadcast: Broadcast, subscriber: Subscriber, channel: str) -> None:
        async def publish() -> None:
            while True:
                with suppress(*line.driver):  # on a connection that was cut as well
                    await broadcast.publish(channel, "after")
                await anyio.sleep(0.05)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish)
            event = await soon(subscriber.get())
            tasks.cancel_scope.cancel()
        assert event.message == "after"
        if line.url.partition(":")[0] in FORGETFUL:
            assert event.gap.causes == {GapCause.RECONNECT}
            assert event.gap.missed is None
        else:
            assert event.gap is None  # the broker kept it: nothing can be missing

    await after_a_cut(line, "reconnect", use)


@pytest.mark.parametrize("line", ["redis", "redis-stream", "postgres"], indirect=True)
async def test_a_lost_connection_can_be_raised_as_the_drivers_own_error(line: Line) -> None:
    async def use(_: Broadcast, subscriber: Subscriber, channel: str) -> None:
        with pytest.raises(ConnectionLost) as caught:
            await soon(subscriber.get())
        for kind in line.driver:
            assert isinstance(caught.value, kind)
        assert type(caught.value).__name__ == "ConnectionLost"
        assert str(caught.value) == str(caught.value.__cause__) != ""
        with pytest.raises(line.driver[0]):
            async for _event in subscriber:
                pass

    await after_a_cut(line, "raise", use)


@pytest.mark.parametrize("line", ["redis", "redis-stream", "postgres"], indirect=True)
async def test_a_lost_connection_can_be_the_end(line: Line) -> None:
    async def use(_: Broadcast, subscriber: Subscriber, channel: str) -> None:
        with anyio.fail_after(SOON):
            async for _event in subscriber:
                pass
        with pytest.raises(Unsubscribed):
            await soon(subscriber.get())

    await after_a_cut(line, "end", use)


@pytest.mark.parametrize("line", ["redis", "redis-stream", "postgres"], indirect=True)
async def test_after_an_error_the_next_subscriber_hears_again(line: Line) -> None:
    async def use(broadcast: Broadcast, subscriber: Subscriber, channel: str) -> None:
        with pytest.raises(ConnectionLost):
            await soon(subscriber.get())
        async with broadcast.subscribe(channel) as another:
            with anyio.fail_after(SOON):
                while True:
                    try:
                        await broadcast.publish(channel, "again")
                        break
                    except PublishFailed:  # on a connection that was cut as well
                        await anyio.sleep(0.05)
            assert (await soon(another.get())).message == "again"

    await after_a_cut(line, "raise", use)


@pytest.mark.parametrize("line", ["redis", "redis-stream", "postgres"], indirect=True)
async def test_a_subscribe_that_fails_raises_its_cause(line: Line) -> None:
    async with Broadcast(line.url) as broadcast:
        line.proxy.refuse()
        line.proxy.cut()
        with pytest.raises(LayerError) as caught:
            with anyio.fail_after(SOON):
                async with broadcast.subscribe(name()):
                    pass
        assert isinstance(caught.value, ConnectionLost)
        assert isinstance(caught.value, line.driver)
        assert broadcast._subscribers == {}


@pytest.mark.parametrize("line", ["redis", "redis-stream", "postgres"], indirect=True)
async def test_a_publish_that_fails_raises_the_drivers_own_error(line: Line) -> None:
    async with Broadcast(line.url) as broadcast:
        line.proxy.refuse()
        line.proxy.cut()
        with pytest.raises(PublishFailed) as caught:
            await soon(broadcast.publish(name(), "hello"))
        assert isinstance(caught.value, line.driver)
        assert set(caught.value.failures) == {0}


@pytest.mark.parametrize("line", DRIVERS, indirect=True)
async def test_a_broker_that_is_not_there_is_the_drivers_own_error(line: Line) -> None:
    line.proxy.refuse()
    broadcast = Broadcast(line.url)
    with pytest.raises(ConnectionLost) as caught:
        await soon(broadcast.connect())
    assert isinstance(caught.value, line.driver)
    line.proxy.accept()
    await broadcast.connect()
    await broadcast.disconnect()


@pytest.mark.parametrize("line", FORGETFUL, indirect=True)
async def test_a_listener_comes_back_no_later_than_who_publishes(line: Line) -> None:
    async def use(broadcast: Broadcast, subscriber: Subscriber, channel: str) -> None:
        line.proxy.refuse()
        line.proxy.cut()
        deadline = anyio.current_time() + 3.0  # so that the next try would be seconds away
        while anyio.current_time() < deadline:
            with pytest.raises(PublishFailed):
                await soon(broadcast.publish(channel, "lost"))
            await anyio.sleep(0.7)
        line.proxy.accept()
        await soon(broadcast.publish(channel, "first after the restart"))
        event = await soon(subscriber.get())
        assert event.message == "first after the restart"
        assert event.gap is not None

    await after_a_cut(line, "reconnect", use)


async def test_what_happens_to_one_channel_is_not_raised_in_another(redis_broker: Broker) -> None:
    url = redis_broker.url.replace("redis", "redis-stream", 1)
    one, other = name(), name()
    async with (
        redis.asyncio.Redis.from_url(redis_broker.url) as client,
        Broadcast(url) as broadcast,
    ):
        async with broadcast.subscribe(one) as hurt, broadcast.subscribe(other) as unhurt:
            await client.set(one, "a text, and no stream")
            with pytest.raises(LayerError):
                await soon(hurt.get())
            await broadcast.publish(other, "hello")
            assert (await soon(unhurt.get())).message == "hello"
            await client.delete(one)
            async with broadcast.subscribe(one) as again:
                await broadcast.publish(one, "once more")
                assert (await soon(again.get())).message == "once more"


@pytest.mark.parametrize("line", FORGETFUL, indirect=True)
async def test_each_loss_is_one_line_of_the_log_however_many_subscribe(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    count = 180
    async with Broadcast(line.url) as broadcast, AsyncExitStack() as rooms:
        channels = [name() for _ in range(count)]
        subscribers = [await rooms.enter_async_context(broadcast.subscribe(c)) for c in channels]
        for losses in (1, 2):
            line.proxy.cut()
            async with anyio.create_task_group() as tasks:
                for subscriber in subscribers:
                    tasks.start_soon(gap_of, subscriber)
                while any(one.statistics().unknown_gaps < losses for one in subscribers):
                    for channel in channels:
                        with suppress(*line.driver):
                            await broadcast.publish(channel, "hello")
                tasks.cancel_scope.cancel()
    said = [one.getMessage() for one in caplog.records if one.name.startswith("acked")]
    assert len([one for one in said if "reconnecting" in one]) == len(said) == 2, said


async def gap_of(subscriber: Subscriber) -> None:
    async for event in subscriber:
        if event.gap is not None:
            break
