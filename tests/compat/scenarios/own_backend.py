"""An application with a backend of its own, which inherits from nothing."""

import asyncio

from _stage import messages, play
from broadcaster import Broadcast, Event
from broadcaster._base import Event as TheSameEvent


class Pigeons:
    def __init__(self):
        self.calls = []
        self._air = asyncio.Queue()

    async def connect(self):
        self.calls.append("connect")

    async def disconnect(self):
        self.calls.append("disconnect")

    async def subscribe(self, channel):
        self.calls.append(f"subscribe {channel}")

    async def unsubscribe(self, channel):
        self.calls.append(f"unsubscribe {channel}")

    async def publish(self, channel, message):
        self._air.put_nowait(Event(channel, message))

    async def next_published(self):
        return await self._air.get()


async def main():
    backend = Pigeons()
    async with Broadcast(backend=backend) as broadcast:
        assert broadcast._backend is backend
        assert Event is TheSameEvent
        async with broadcast.subscribe("loft") as one, broadcast.subscribe("loft") as other:
            await broadcast.publish("loft", {"any": "object"})
            heard = await messages(one, 1) + await messages(other, 1)
            await broadcast.publish("elsewhere", "to nobody")
            await broadcast.publish("loft", 2)
            heard += await messages(one, 1) + await messages(other, 1)
    return {"heard": heard, "calls": backend.calls}


play(main)
