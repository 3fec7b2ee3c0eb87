"""Who waits, and how one learns that something has become free: by LISTEN and NOTIFY.

A hint and no more: every waiting consumer also looks by itself, seldom while notifications are
known to arrive, often while they are not. They are known to arrive when one does that another
session has sent: a pooler that shares sessions between transactions accepts LISTEN and swallows it.

What is published through a layer is told of after its commit, by a statement that shares nothing
with it: a transaction that notifies holds a lock of the whole server while it commits.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import anyio

from acked.errors import LayerError
from acked.layers._postgres.pool import LendingPool
from acked.layers._postgres.server import NotifyConnection, PostgresServer, close, dead_after
from acked.layers._shared.reconnect import pause_before

__all__ = ("Wakeups",)

logger = logging.getLogger("acked.layers.postgres_queue")

HEARTBEAT: Final = 10.0
"""Seconds between two notifications that are sent only to see whether they arrive."""
ANSWER_WITHIN: Final = 3.0
"""Seconds for which such a one may take."""
APART: Final = 0.003
"""Seconds between two statements that tell of what was published: a burst is told of at once."""
CLOSING: Final = 1.0

_NOTIFY: Final = """
SELECT FROM set_config('synchronous_commit', 'off', true), unnest($2::text[]) AS one
WHERE pg_notify($1, one) IS NULL"""
"""A hint need not be on the disk before anybody hears it."""


class Wakeups:
    """The consumers of one layer that wait, one connection that listens, and what is to be told."""

    def __init__(self, server: PostgresServer, pool: LendingPool, channel: str) -> None:
        self.is_live = False
        """Whether notifications are known to arrive."""
        self._server = server
        self._pool = pool
        self._channel = channel
        self._probes = f"{channel}.{uuid.uuid4().hex[:12]}"
        self._awaited: dict[asyncio.Event, frozenset[str]] = {}
        self._untold: dict[str, None] = {}
        self._echoes: Counter[str] = Counter()
        """How often we shall hear of a topic what we told ourselves: who waits here knows it."""
        self._telling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._probed = asyncio.Event()
        self._lost = asyncio.Event()
        self._is_silent = False

    @property
    def arrive(self) -> bool | None:
        """Whether notifications arrive; None where that was not found out yet."""
        return True if self.is_live else False if self._is_silent else None

    def listen(self) -> None:
        """Keep a connection that listens from now on, until `aclose`."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="acked: queue's LISTEN")

    def news(self, topics: Iterable[str]) -> asyncio.Event:
        """Return an event that is set when something of `topics` may have become free."""
        event = asyncio.Event()
        self._awaited[event] = frozenset(topics)
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Set `event` no more."""
        del self._awaited[event]

    def announce(self, topics: Iterable[str]) -> None:
        """Wake who waits for any of `topics`: here at once, elsewhere within milliseconds."""
        told = dict.fromkeys(topics)
        self._wake(told)
        self._untold |= told
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="acked: queue's NOTIFY")

    async def aclose(self) -> None:
        """Tell what is to be told, and end."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=CLOSING)
        tasks = [one for one in (self._telling, self._listening) if one is not None]
        self._telling = self._listening = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _wake(self, topics: Iterable[str] | None) -> None:
        changed = None if topics is None else frozenset(topics)
        for event, awaited in self._awaited.items():
            if changed is None or not changed.isdisjoint(awaited):
                event.set()

    async def _tell(self) -> None:
        while self._untold:
            topics, self._untold = [*self._untold], {}
            if self.is_live:
                self._echoes.update(topics)
            try:
                await self._notify(self._channel, topics)
            except LayerError as error:  # who waits looks by itself
                self._echoes.clear()
                logger.debug("consumers elsewhere were not woken: %s", error)
            await asyncio.sleep(APART)

    async def _notify(self, channel: str, words: Sequence[str]) -> None:
        with self._server.translated():
            async with self._pool.borrowed() as connection:
                await connection.execute(_NOTIFY, channel, words)

    async def _listen(self) -> None:
        tries = 0
        while True:
            try:
                connection = await self._server.connection()
                try:
                    await self._serve(connection)
                finally:
                    tries = 0 if self.is_live else tries
                    self.is_live = False
                    self._echoes.clear()
                    self._wake(None)  # to look more often
                    await close(connection)
            except LayerError as error:
                self._note_silence(str(error))
            tries += 1
            await pause_before(tries)

    async def _serve(self, connection: NotifyConnection) -> None:
        """Listen until the connection is lost, and see again and again that it does."""
        self._lost.clear()
        connection.arrived = self._arrived
        connection.add_termination_listener(self._terminated)
        listen = "; ".join(f'LISTEN "{one}"' for one in (self._channel, self._probes))
        with self._server.translated(), dead_after(self._server.timeout, connection):
            await connection.execute(listen)
        while not self._lost.is_set():
            self._set_live(is_live=await self._probe())
            with anyio.move_on_after(HEARTBEAT):
                await self._lost.wait()

    async def _probe(self) -> bool:
        """Say whether a notification arrives that another session sends."""
        self._probed.clear()
        await self._notify(self._probes, [""])
        with anyio.move_on_after(ANSWER_WITHIN):
            await self._probed.wait()
        return self._probed.is_set()

    def _set_live(self, *, is_live: bool) -> None:
        if not is_live:
            self._note_silence(
                f"{self._server.address} accepts LISTEN and delivers nothing, as a pooler does "
                "that shares sessions between transactions"
            )
        elif not self.is_live:
            if self._is_silent:
                logger.warning("notifications of %s arrive again", self._server.address)
            self._is_silent = False
            self._wake(None)  # for what was not heard
        self.is_live = is_live

    def _note_silence(self, why: str) -> None:
        if not self._is_silent:
            logger.warning("no notifications, so consumers look for messages more often: %s", why)
        self._is_silent = True

    def _arrived(self, _: NotifyConnection, channel: str, payload: str) -> None:
        if channel == self._probes:
            self._probed.set()
        elif not self._is_echo(payload):
            self._wake((payload,))

    def _is_echo(self, topic: str) -> bool:
        """Say whether this is heard of `topic` for our own telling, or before that is heard."""
        left = self._echoes.pop(topic, 0) - 1
        if left > 0:
            self._echoes[topic] = left
        return left >= 0

    def _terminated(self, _: object) -> None:
        self._lost.set()
