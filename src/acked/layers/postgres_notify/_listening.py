"""The one connection that listens, and the subscriptions it feeds.

Rules:

1. One task, `_run`, does everything on the connection: LISTEN, UNLISTEN, heartbeat, reconnecting.
   Subscribers only say what they want, in `_listeners`, and wait; so nobody's cancellation ever
   interrupts a statement, and no two statements meet on the connection.
2. A topic is in `_confirmed` from the server's answer to LISTEN until just before UNLISTEN is
   sent, and both change together with the connection. A subscriber has entered when all of its
   topics were in there: at once, if others listen on them already.
3. After a reconnect the connection counts as `_live` when everything wanted is confirmed; then
   all who had entered before are told of the gap. What arrives in between is part of that gap.
4. A connection is dead when asyncpg says so, or when it leaves a heartbeat unanswered.
"""

import asyncio
import logging
from typing import Final

from acked.errors import ConnectionLost, LayerError
from acked.layers._postgres.errors import without_pooler
from acked.layers._postgres.pool import SESSION, LendingPool, PostgresSession
from acked.layers._postgres.server import (
    Connection,
    NotifyConnection,
    PostgresServer,
    close,
    dead_after,
)
from acked.layers._shared.reconnect import NextTry
from acked.layers.postgres_notify._arrivals import Arrivals
from acked.layers.postgres_notify._envelope import Unpacker
from acked.layers.postgres_notify._listener import NotifyListener
from acked.layers.postgres_notify._statements import listen_statements, pages
from acked.types import Gap, GapCause, Record

__all__ = ("ListenConnection",)

logger = logging.getLogger("acked.layers.postgres_notify")

RECONNECTED: Final = Gap(None, frozenset({GapCause.RECONNECT}))

BEAT: Final = f"{SESSION}, array(select pg_listening_channels()) as topics"

MOST_APART: Final = 3
"""After how many tries publishers and we are said to be on two servers for good."""


class ListenConnection:
    """Everything behind `listen`: subscribers come and go, one task keeps the connection.

    `publishers` must be in sessions of the same server. `heartbeat` and `patience` are seconds.
    """

    def __init__(
        self,
        server: PostgresServer,
        publishers: LendingPool,
        *,
        heartbeat: float,
        patience: float,
        reconnects: bool,
    ) -> None:
        self._server = server
        self._publishers = publishers
        self._beat = heartbeat / 2  # half of it idle, half of it waiting for the answer
        self._patience = patience
        self._reconnects = reconnects
        self._unpacker = Unpacker()
        self._listeners: dict[str, dict[NotifyListener, None]] = {}
        self._entering: dict[NotifyListener, None] = {}
        self._confirmed: set[str] = set()
        self._live: Connection | None = None
        self._missed = False
        self._lost_since: float | None = None
        self._tries = 0
        self._retry = NextTry()
        self._apart = 0
        self._arrivals = Arrivals(self._pass_on)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def topics(self) -> dict[str, int]:
        """Return the number of listeners of each topic."""
        return {topic: len(found) for topic, found in self._listeners.items()}

    def add(self, listener: NotifyListener) -> None:
        """Feed `listener` from now on; its `entered` is done once the server has confirmed."""
        for topic in listener.topics:
            self._listeners.setdefault(topic, {})[listener] = None
        self._entering[listener] = None
        self._let_enter()
        if not listener.entered.done():
            self._changed.set()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run(), name="acked: LISTEN")

    def remove(self, listener: NotifyListener) -> None:
        """Feed `listener` no more."""
        self._entering.pop(listener, None)
        for topic in listener.topics:
            found = self._listeners.get(topic, {})
            found.pop(listener, None)
            if not found and self._listeners.pop(topic, None) is not None:
                self._changed.set()

    async def hear(self, timeout: float) -> None:
        """After a loss, try to connect now and wait for that, `timeout` seconds at most."""
        if self._missed and self._listeners:
            await self._retry.hurry(timeout)

    async def aclose(self) -> None:
        """Close the connection and end the task."""
        if self._task is not None:
            await ended(self._task)

    async def _run(self) -> None:
        """Keep a connection until there is no hope; rule 1."""
        try:
            connection = await self._server.connection()
            while True:
                try:
                    await self._serve(connection)
                except LayerError as error:
                    if not (error.may_pass and self._reconnects):
                        raise
                    self._lost(error)
                finally:
                    self._live = None
                    self._confirmed.clear()
                    await close(connection)
                self._missed = True
                connection = await self._reconnected()
        except LayerError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            words = f"listening on {self._server.address} ended: {type(error).__name__}"
            failure = LayerError(f"{words}; this is a defect of acked, please report it")
            failure.__cause__ = error
            self._give_up(failure)

    def _lost(self, error: LayerError) -> None:
        """Note the beginning of an episode; who waits to enter is told what the server refuses."""
        if self._lost_since is None:
            self._lost_since = asyncio.get_running_loop().time()
            logger.warning("%s; reconnecting", error)
        if not isinstance(error, ConnectionLost):
            for listener in tuple(self._entering):
                self.remove(listener)
                listener.fail(error)

    def _give_up(self, error: LayerError) -> None:
        self._arrivals.pass_all()
        self._missed = False
        for listener in {one: None for found in self._listeners.values() for one in found}:
            self.remove(listener)
            listener.fail(error)

    async def _reconnected(self) -> NotifyConnection:
        loop = asyncio.get_running_loop()
        while True:
            self._tries += 1
            await self._retry.pause(self._tries)
            try:
                return await self._server.connection()
            except LayerError as error:
                self._retry.done()
                patience = (self._lost_since or loop.time()) + self._patience
                if not error.may_pass or loop.time() > patience:
                    raise

    async def _serve(self, connection: NotifyConnection) -> None:
        """Do what is wanted until the connection is lost."""
        connection.arrived = self._arrived
        connection.add_termination_listener(self._terminated)
        session = await self._session(connection)
        await self._compare(session)
        while not connection.is_closed():
            self._changed.clear()
            await self._reconcile(connection)
            self._go_live(connection)
            try:
                async with asyncio.timeout(self._beat):
                    await self._changed.wait()
            except TimeoutError:
                if await self._session(connection) != session:
                    raise without_pooler(self._server.address) from None
                await self._compare(session)
        raise ConnectionLost(f"the connection to {self._server.address} that listens was lost")

    async def _session(self, connection: Connection) -> PostgresSession:
        """Return the session of `connection`, which must have all our topics."""
        with self._server.translated(), dead_after(self._beat, connection):
            row = await connection.fetchrow(BEAT)
        if row is None or not self._confirmed.issubset(row["topics"]):
            raise without_pooler(self._server.address)
        return PostgresSession(row["session"], row["started"])

    async def _compare(self, session: PostgresSession) -> None:
        """Raise unless what is published goes to the server of `session`, in a session of its own.

        One address may lead to two servers: after a failover, say, while the old primary still
        takes what is published. Then both connect anew, each to the first that answers.
        """
        try:
            other = await self._publishers.session()
        except LayerError:
            return  # publishers are told themselves
        if other == session:
            raise without_pooler(self._server.address)
        if other.started == session.started:
            self._apart = 0
            return
        self._apart += 1
        await self._publishers.renew()
        words = (
            f"{self._server.address} leads to several servers: what is published goes to another "
            "one than that which we listen to; name one primary, or end the one that is none any "
            "more"
        )
        raise ConnectionLost(words) if self._apart < MOST_APART else LayerError(words)

    async def _reconcile(self, connection: NotifyConnection) -> None:
        """Make LISTEN and UNLISTEN agree with what is wanted, many names in a statement."""
        with self._server.translated():
            wanted = [one for one in self._listeners if one not in self._confirmed]
            for names in pages(wanted):
                with dead_after(self._beat, connection):
                    await connection.execute(listen_statements("LISTEN", names))
                self._confirmed.update(names)
            for names in pages([*(self._confirmed - self._listeners.keys())]):
                # Race: wanted again, while others were answered.
                unwanted = [one for one in names if one not in self._listeners]
                self._confirmed.difference_update(unwanted)
                if unwanted:
                    with dead_after(self._beat, connection):
                        await connection.execute(listen_statements("UNLISTEN", unwanted))

    def _go_live(self, connection: Connection) -> None:
        """Pass on what arrives from now on; let those enter whose topics are confirmed."""
        if self._live is not connection:
            self._live = connection
            self._lost_since, self._tries = None, 0
            self._retry.done()
            if self._missed:
                self._missed = False
                self._arrivals.pass_all()
                for listener in {one: None for all_ in self._listeners.values() for one in all_}:
                    if listener not in self._entering:
                        listener.gap(RECONNECTED)
        self._let_enter()

    def _let_enter(self) -> None:
        if self._live is None:
            return
        for listener in tuple(self._entering):
            if self._confirmed.issuperset(listener.topics):
                del self._entering[listener]
                listener.enter()

    def _terminated(self, _: object) -> None:
        self._changed.set()

    def _arrived(self, connection: NotifyConnection, topic: str, payload: str) -> None:
        """Pass on what arrived, or queue it; called by asyncpg, never raises and never waits."""
        if connection is not self._live:
            return
        self._arrivals.add(self._unpacker.unpack(topic, payload))

    def _pass_on(self, record: Record) -> None:
        for listener in self._listeners.get(record.topic, ()):
            listener.offer(record)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel `task` and return when it has ended, whatever it has to say."""
    task.cancel()
    await asyncio.wait([task])
