"""The end, and layers of the application's own: what they raise, what they are asked for."""

from typing import Any

import anyio
import pytest

from acked.compat.starlette_web.common.channels.base import Channel, Event
from acked.compat.starlette_web.common.channels.exceptions import ChannelsError, ListenerClosed
from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer
from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer
from acked.compat.starlette_web.common.http.exceptions import NotSupportedError
from tests.compat.starlette_web_kit import ON_BOTH, SOON, read

pytestmark = pytest.mark.anyio


# 8: the end


@ON_BOTH
async def test_a_layer_that_raises_listener_closed_ends_its_subscribers() -> None:
    class Ending(InMemoryChannelLayer):
        async def next_published(self) -> Event:
            event = await super().next_published()
            if event.message == "the end":
                raise ListenerClosed(details="it said so")
            return event

    async with Channel(Ending()) as channel:
        async with channel.subscribe("room") as subscriber:
            await channel.publish("room", "hello")
            await channel.publish("room", "the end")
            with anyio.fail_after(SOON):
                assert [event.message async for event in subscriber] == ["hello"]
        async with channel.subscribe("room") as subscriber:
            with anyio.fail_after(SOON):
                assert [event async for event in subscriber] == []


async def test_what_else_a_layer_raises_is_raised_in_every_subscriber() -> None:
    class Broken(InMemoryChannelLayer):
        async def next_published(self) -> Event:
            await super().next_published()
            raise PermissionError

    async with Channel(Broken()) as channel:
        async with channel.subscribe("room") as one, channel.subscribe("other") as other:
            await channel.publish("room", "hello")
            for subscriber in (one, other):
                with anyio.fail_after(SOON), pytest.raises(PermissionError):
                    await anext(subscriber)


async def test_a_layer_of_the_applications_own_is_asked_for_its_methods_only() -> None:
    class Own(BaseChannelLayer):
        def __init__(self) -> None:
            super().__init__(anything=1)
            self.send, self.receive = anyio.create_memory_object_stream[Event](10)

        async def connect(self) -> None:
            pass

        async def disconnect(self) -> None:
            self.send.close()
            self.receive.close()

        async def subscribe(self, group: str, **kwargs: Any) -> None:
            pass

        async def unsubscribe(self, group: str, **kwargs: Any) -> None:
            pass

        async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
            await self.send.send(Event(group, message))

        async def next_published(self) -> Event:
            return await self.receive.receive()

    async with Channel(Own()) as channel, channel.subscribe("room") as subscriber:
        await channel.publish("elsewhere", 1)
        await channel.publish("room", 2)
        assert await read(subscriber, 1) == [2]


async def test_the_base_layer_can_do_nothing_and_says_so() -> None:
    layer = BaseChannelLayer()
    for call in (
        layer.connect(),
        layer.disconnect(),
        layer.subscribe("room"),
        layer.unsubscribe("room"),
        layer.publish("room", 1),
        layer.next_published(),
    ):
        with pytest.raises(NotSupportedError, match="not supported"):
            await call
    error = ChannelsError(details="why", message="what", status_code=503)
    assert (str(error), error.status_code) == ("what\nwhy", 503)
