"""What the tests of the original's `Broadcast` share: names, reading, a backend that fails."""

import asyncio
import uuid
from typing import Any

import anyio

from acked.compat.broadcaster import BroadcastBackend, Event
from acked.compat.broadcaster._base import Subscriber

SOON = 10.0


def name() -> str:
    return f"c{uuid.uuid4().hex}"


async def soon(subscriber: Subscriber) -> Any:
    with anyio.fail_after(SOON):
        return (await subscriber.get()).message


class Fragile(BroadcastBackend):
    """Fails when it is told to."""

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.subscribed: list[str] = []
        self._published: asyncio.Queue[Event] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def disconnect(self) -> None:
        pass

    async def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.subscribed.remove(channel)

    async def next_published(self) -> Event:
        waiting = [
            asyncio.create_task(self._published.get()),
            asyncio.create_task(self.failing.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self.failing.is_set():
                raise OSError("the pigeon was eaten")
            return waiting[0].result()
        finally:
            for one in waiting:
                one.cancel()

    async def publish(self, channel: str, message: Any) -> None:
        if channel in self.subscribed:
            self._published.put_nowait(Event(channel, message))
