"""The listening side of a layer: one switchboard, or one for each slot of sharded channels.

A sharded channel is heard at the node that serves its slot, and only there. Slots move one by one,
so each has a connection of its own: when it is lost, or the node says that the slot has moved, the
map is looked at anew. Without shards all topics share one connection, to any node that answers.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

import anyio

from acked.abc import Sink
from acked.layers._redis.client import Client
from acked.layers._redis.nodes import slot_of
from acked.layers.redis_pubsub._connection import SHARDED, Kind, PubSubConnection, dial
from acked.layers.redis_pubsub._listener import RedisListener
from acked.layers.redis_pubsub._slot_listener import SlotListener

__all__ = ("SubscriptionManager",)

SHORTLY: Final = 1.0
"""Seconds that who publishes waits for those that shall hear again."""
_ALL = -1
"""The place of the only switchboard, where there are no shards."""


class SubscriptionManager:
    """Who listens, on which connection. Made and used within one event loop."""

    def __init__(
        self,
        client: Client,
        *,
        timeout: float,
        heartbeat: float,
        reconnects: bool,
        new_id: Callable[[], str],
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._heartbeat = heartbeat
        self._reconnects = reconnects
        self._new_id = new_id
        self._boards: dict[int, SlotListener] = {}

    @property
    def topics(self) -> list[str]:
        """The topics that somebody listens to."""
        return [topic for board in self._boards.values() for topic in board.topics]

    def listening(
        self, kind: Kind, names: Iterable[str], sink: Sink
    ) -> AbstractAsyncContextManager[None]:
        """Feed what comes for `names` into `sink` for as long as this is entered."""
        return _ListenContext(self, kind, names, sink)

    async def join(self, listener: RedisListener, kind: Kind, names: Iterable[str]) -> None:
        """Let `listener` hear `names`; return when it does."""
        for place, some in _by_place(kind, names):
            board = self._board(place, next(iter(some), ""))
            await board.join(listener, kind, some, self._timeout)
        listener.enter()

    def leave(
        self, listener: RedisListener, kind: Kind, names: Iterable[str]
    ) -> Sequence[SlotListener | RedisListener]:
        """Let `listener` hear nothing more, whether it has joined or not; return what to close."""
        unused: list[SlotListener | RedisListener] = [listener] if listener.is_behind else []
        for place, some in _by_place(kind, names):
            board = self._boards.get(place)
            if board is not None:
                board.leave(listener, kind, some)
                if place != _ALL and not board.topics:
                    unused.append(self._boards.pop(place))
        return unused

    async def hear(self) -> None:
        """Let who listens hear again before somebody publishes, if the server is there again."""
        deaf = [board for board in self._boards.values() if board.is_deaf]
        if deaf:
            await asyncio.wait([asyncio.ensure_future(board.hear(SHORTLY)) for board in deaf])

    async def aclose(self) -> None:
        """End every connection."""
        while self._boards:
            _, board = self._boards.popitem()
            await board.aclose()

    def _board(self, place: int, name: str) -> SlotListener:
        board = self._boards.get(place)
        if board is None:
            key = None if place == _ALL else name.encode()
            board = self._boards[place] = SlotListener(
                lambda wire: self._dial(key, wire),
                self._client.lost,
                heartbeat=self._heartbeat,
                reconnects=self._reconnects,
                new_id=self._new_id,
            )
        return board

    async def _dial(self, key: bytes | None, wire: PubSubConnection) -> PubSubConnection:
        return await dial(await self._client.home(key), wire)


class _ListenContext:
    """One listener from entering to leaving. Not a generator: there may be thousands of these."""

    __slots__ = ("_kind", "_listener", "_manager", "_names")

    def __init__(
        self, manager: SubscriptionManager, kind: Kind, names: Iterable[str], sink: Sink
    ) -> None:
        self._manager = manager
        self._kind = kind
        self._names = names
        self._listener = RedisListener(sink)

    async def __aenter__(self) -> None:
        try:
            await self._manager.join(self._listener, self._kind, self._names)
        except BaseException:
            await self._leave()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        unused = self._manager.leave(self._listener, self._kind, self._names)
        if unused:  # a scope costs as much as all the rest
            with anyio.CancelScope(shield=True):
                for one in unused:
                    await one.aclose()


def _by_place(kind: Kind, names: Iterable[str]) -> Iterable[tuple[int, Iterable[str]]]:
    if kind != SHARDED:
        return ((_ALL, names),)
    places: defaultdict[int, list[str]] = defaultdict(list)
    for name in names:
        places[slot_of(name.encode())].append(name)
    return places.items()
