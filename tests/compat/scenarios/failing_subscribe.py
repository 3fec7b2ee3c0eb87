"""Fault 29: a backend refuses to subscribe. What does the application get to know?"""

from _stage import outcome, play
from broadcaster import Broadcast, BroadcastBackend


class Refuses(BroadcastBackend):
    def __init__(self):
        pass

    async def connect(self):
        pass

    async def disconnect(self):
        pass

    async def subscribe(self, channel):
        raise PermissionError("no subscriber but the king")

    async def unsubscribe(self, channel):
        pass

    async def next_published(self):
        import asyncio

        await asyncio.sleep(3600)


async def main():
    async with Broadcast(backend=Refuses()) as broadcast:

        async def subscribe():
            async with broadcast.subscribe("court"):
                pass

        return {"raised": await outcome(subscribe())}


play(main)
