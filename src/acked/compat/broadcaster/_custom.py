"""A backend of the application's own, as a layer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

from acked.abc import Sink
from acked.compat.broadcaster._events import Event
from acked.errors import LayerError
from acked.types import Capabilities, Record

__all__ = ("CustomBackend", "CustomLayer")


class CustomBackend(Protocol):
    """What an application's backend has; it need not inherit from `BroadcastBackend`."""

    async def connect(self) -> None:
        """Connect."""
        ...

    async def disconnect(self) -> None:
        """Disconnect."""
        ...

    async def subscribe(self, channel: str, /) -> None:
        """Let `next_published` return what is published to `channel`."""
        ...

    async def unsubscribe(self, channel: str, /) -> None:
        """Undo `subscribe`."""
        ...

    async def publish(self, channel: str, message: Any, /) -> None:
        """Publish."""
        ...

    async def next_published(self) -> Event:
        """Wait for the next event of any channel subscribed to."""
        ...


class CustomLayer:
    """Listens by `backend.next_published()`, in one task; events travel as the objects they are.

    Once that raised, every subscriber gets the error, and so does who subscribes afterwards.
    """

    def __init__(self, backend: CustomBackend) -> None:
        self.capabilities: Final = Capabilities(lossy=True)
        self._backend = backend
        self._sinks: dict[str, Sink] = {}
        self._listening: asyncio.Task[None] | None = None
        self._failure: LayerError | None = None

    def __repr__(self) -> str:
        return f"CustomLayer({self._backend!r})"

    async def __aenter__(self) -> Self:
        """Connect, and listen from now on."""
        await self._backend.connect()
        self._failure = None
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, and disconnect."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait([listening])
        await self._backend.disconnect()

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish `records` one after the other."""
        for record in records:
            await self._backend.publish(record.topic, cast("object", record.body))

    @asynccontextmanager
    async def listen(self, topics: Sequence[str], sink: Sink) -> AsyncGenerator[None]:
        """Feed the events of `topics` into `sink`; each topic has one listener at a time."""
        (topic,) = topics  # `Shared` asks for one at a time
        if self._failure is not None:
            raise LayerError(str(self._failure)) from self._failure.__cause__
        self._sinks[topic] = sink
        try:
            await self._backend.subscribe(topic)
            try:
                yield
            finally:
                if self._failure is None:
                    await self._backend.unsubscribe(topic)
        finally:
            del self._sinks[topic]

    async def _listen(self) -> None:
        try:
            while True:
                event = await self._backend.next_published()
                sink = self._sinks.get(event.channel)
                if sink is not None:
                    sink.offer(Record(event.channel, cast("bytes", event), id=""))
        except Exception as error:  # noqa: BLE001 - whatever it is, the subscribers must know
            self._failure = LayerError(
                f"next_published() of {type(self._backend).__name__} raised "
                f"{type(error).__name__}: {error}"
            )
            self._failure.__cause__ = error
            for sink in self._sinks.values():
                sink.fail(self._failure)
