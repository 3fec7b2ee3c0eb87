"""A lost connection is made again and told, or raised as the driver's own, or the end."""

from contextlib import suppress
from typing import Any

import anyio
import asyncpg
import pytest
import redis

from acked import ConnectionLost, GapCause, LayerError, PublishFailed
from acked.compat.starlette_web.common.channels.base import Channel
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from tests.compat.scenarios import _layers
from tests.compat.starlette_web_kit import SOON, name
from tests.fix_proxy import Proxies, Proxy

pytestmark = pytest.mark.anyio


# Lost connections


class Line:
    """A way to a real broker that can be cut, and a layer that takes it."""

    def __init__(self, kind: str, proxy: Proxy) -> None:
        self.kind, self.proxy = kind, proxy
        self.driver = {
            "redis": redis.ConnectionError,
            "postgres": asyncpg.PostgresConnectionError,
            "mqtt": ConnectionLost,
        }[kind]

    def layer(self, on_loss: str) -> BaseChannelLayer:
        url = self.proxy.url
        kind: Any = _layers.layer_class(url, "acked.compat.starlette_web")
        layer: BaseChannelLayer = kind(on_loss=on_loss, **_layers.options(url))
        return layer


@pytest.fixture
def line(request: pytest.FixtureRequest, proxy: Proxies) -> Line:
    """A way to the shared broker that the test's parameter names."""
    return Line(request.param, proxy(request.getfixturevalue(f"{request.param}_broker")))


EVERY_LINE = pytest.mark.parametrize("line", ["redis", "postgres", "mqtt"], indirect=True)


@EVERY_LINE
async def test_a_lost_connection_is_made_again_and_told(line: Line) -> None:
    group = name()
    async with Channel(line.layer("reconnect")) as channel:
        async with channel.subscribe(group) as subscriber:
            line.proxy.cut()

            async def publish() -> None:
                while True:
                    with suppress(LayerError):  # on a connection that was cut as well
                        await channel.publish(group, "after")
                    await anyio.sleep(0.05)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                with anyio.fail_after(2 * SOON):
                    event = await anext(subscriber)
                tasks.cancel_scope.cancel()
            assert event.message == "after"
            if line.kind != "mqtt":  # whose session the broker keeps: nothing can be missing
                assert event.gap is not None
                assert event.gap.causes == {GapCause.RECONNECT}


@EVERY_LINE
async def test_a_lost_connection_can_be_raised_as_the_drivers_own_error(line: Line) -> None:
    async with Channel(line.layer("raise")) as channel:
        async with channel.subscribe(name()) as subscriber:
            line.proxy.refuse()
            line.proxy.cut()
            with anyio.fail_after(2 * SOON), pytest.raises(ConnectionLost) as caught:
                await anext(subscriber)
    assert isinstance(caught.value, line.driver)


@EVERY_LINE
async def test_a_lost_connection_can_be_the_end_as_in_the_original(line: Line) -> None:
    async with Channel(line.layer("end")) as channel:
        async with channel.subscribe(name()) as subscriber:
            line.proxy.refuse()
            line.proxy.cut()
            with anyio.fail_after(2 * SOON):
                assert [event async for event in subscriber] == []


@EVERY_LINE
async def test_a_broker_that_is_not_there_is_said_on_entering_and_on_publishing(
    line: Line,
) -> None:
    channel = Channel(line.layer("reconnect"))
    async with channel:
        line.proxy.refuse()
        line.proxy.cut()
        with anyio.fail_after(2 * SOON), pytest.raises(PublishFailed):
            while True:
                await channel.publish("nobody", "hears", qos=2)
    with anyio.fail_after(2 * SOON), pytest.raises(ConnectionLost):
        await channel.__aenter__()
    line.proxy.accept()
    async with channel:
        await channel.publish("nobody", "hears")
