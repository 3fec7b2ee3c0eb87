"""A consumer of a queue file: how it waits, and how cancelling it loses nothing.

Blocking work runs in a thread, one at a time for each layer. A receive may be cancelled while its
claim runs, natively too, where nobody hears the thread's answer. So the thread itself notes what
it has leased, and the next claim gives that back first, uncharged, in its own transaction.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from acked.errors import ConnectionLost, LayerError
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._file import QueueFile, Version
from acked.types import Leased, Outcome, Settlement, Start, Token, Verb

__all__ = ("Access", "SQLiteQueueFeed")

R = TypeVar("R")

logger = logging.getLogger("acked.layers.sqlite_queue")

LONGEST_POLL: Final = 0.25
"""How long a consumer that has had no news for a while may take to learn of some, in seconds."""

SHORTEST_WAIT: Final = 0.002
"""No two looks follow one another faster, however near the next moment of interest is."""

LEAVING: Final = 1.0
"""How long leaving a feed may wait for a file that another process holds, in seconds."""


class Access:
    """The file, the one thread at a time that may use it, and who waits in this process."""

    def __init__(self, file: QueueFile, time: Callable[[], float]) -> None:
        self.file: Final = file
        self.time: Final = time
        self._waiting: Final[dict[anyio.Event, Sequence[str]]] = {}
        self._limiter: CapacityLimiter | None = None

    def check_open(self) -> CapacityLimiter:
        """Return what admits one thread at a time; raise `LayerError` if the layer is closed."""
        if self._limiter is None:
            raise LayerError(f"queue file {self.file.path} is not open; use it within `async with`")
        return self._limiter

    async def open(self) -> None:
        """Open the file; cancelled or failed, nothing is left open."""
        self._limiter = CapacityLimiter(1)
        try:
            await self.run(self.file.open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file, also under cancellation."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.file.close)
        self._limiter = None

    async def run(self, job: Callable[[], R]) -> R:
        """Return what `job` returns in a thread.

        Cancelled, it is not begun, or stops waiting for other processes, or runs to its end.
        """
        return await to_thread.run_sync(job, limiter=self.check_open())

    @contextmanager
    def news(self, topics: Sequence[str]) -> Generator[anyio.Event, None, None]:
        """Make an event that is set when something of `topics` may have become free."""
        event = anyio.Event()
        self._waiting[event] = topics
        try:
            yield event
        finally:
            del self._waiting[event]

    def announce(self, topics: Iterable[str]) -> None:
        """Wake those in this process who wait for any of `topics`."""
        changed = frozenset(topics)
        for event, awaited in self._waiting.items():
            if not changed.isdisjoint(awaited):
                event.set()


class Found(NamedTuple):
    """What a look at the file brought: a batch, or when to look again."""

    batch: Sequence[Leased]
    due: float
    version: Version


class SQLiteQueueFeed:
    """One consumer of a group.

    It waits for whatever comes first: a publish or nack through this layer, the end of a delay or
    a lease, another version of the file. Only the last one needs polling, and a poll reads a number
    from shared memory.
    """

    def __init__(
        self, access: Access, topics: Iterable[str], group: str, *, lease: float, poll: float
    ) -> None:
        self._access = access
        self._topics = deque(topics)
        self._group = group
        self._lease = lease
        self._poll = poll
        self._held: set[Token] = set()
        self._claims = 0
        """Claims begun and not returned from: one, or those of receives that were cancelled."""
        self._unreturned: set[Token] = set()
        """What such claims have leased; changed only while the file is locked by its claim."""

    def __repr__(self) -> str:
        return f"<feed of {len(self._topics)} topics, {len(self._held)} held>"

    async def join(self, start: Start) -> None:
        """Make the group known to every topic."""

        def job() -> None:
            with self._access.file.transaction() as db:
                for topic in self._topics:
                    store.join(db, topic, self._group, start)

        await self._access.run(job)

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Lease up to `limit`; what a cancelled call has leased is given back by the next one."""
        while True:
            # Before the look: what is published after it must wake us.
            with self._access.news(tuple(self._topics)) as news:
                found = await self._look(limit)
                if found.batch:
                    return found.batch
                await self._wait(found, news)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Settle `batch` in one transaction; UNKNOWN for what the file does not take."""

        def job() -> list[Outcome]:
            with self._access.file.transaction() as db:
                return store.settle(db, batch, self._access.time())

        try:
            outcomes = await self._access.run(job)
        except ConnectionLost as error:
            logger.warning("settlements are unknown: %s", error)
            return [Outcome.UNKNOWN] * len(batch)
        except LayerError as error:
            if len(batch) > 1:  # one that is refused does not spoil the others
                return [outcome for one in batch for outcome in await self.settle([one])]
            logger.warning("a settlement was refused: %s", error)
            return [Outcome.UNKNOWN]
        self._held.difference_update(settlement.token for settlement in batch)
        self._announce(batch)
        return outcomes

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Let the leases of `tokens` end `seconds` from now; LOST where there is none."""

        def job() -> list[Outcome]:
            with self._access.file.transaction(durable=False) as db:
                return store.extend(db, tokens, seconds, self._access.time())

        outcomes = await self._access.run(job)
        pairs = zip(tokens, outcomes, strict=True)
        self._held.difference_update(token for token, one in pairs if one is Outcome.LOST)
        return outcomes

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back; their next delivery has the same attempt."""

        def job() -> None:
            with self._access.file.transaction(durable=False) as db:
                store.release(db, tokens, self._access.time())

        try:
            await self._access.run(job)
        except ConnectionLost as error:
            logger.warning("leases will end by themselves: %s", error)
            return
        self._held.difference_update(tokens)
        self._access.announce(self._topics)

    async def leave(self) -> None:
        """Give back whatever is held; bounded in time, also under cancellation."""
        if not (self._held or self._claims):
            return
        with anyio.move_on_after(LEAVING, shield=True):
            try:
                await self._access.run(self._give_back)
            except LayerError as error:
                logger.warning("leases will end by themselves: %s", error)
        self._access.announce(self._topics)

    async def _look(self, limit: int) -> Found:
        self._claims += 1
        found = await self._access.run(partial(self._claim, limit))
        # Race: not reached if this task was cancelled meanwhile, whether by anyio or natively; the
        # thread has noted what it leased. From here to the caller there is no await.
        tokens = {leased.token for leased in found.batch}
        self._claims -= 1
        self._unreturned -= tokens
        self._held |= tokens
        return found

    def _claim(self, limit: int) -> Found:
        """Lease what is there. Runs in a thread, as does `_give_back`."""
        file = self._access.file
        with file.transaction(durable=False) as db:
            now = self._access.time()
            store.release(db, self._unreturned, now)
            claim = store.Claim(db, lease=self._lease, now=now)
            # A group that is gone was deleted with the file: what is in the new one, it owes.
            names = [store.join(db, name, self._group, Start.EARLIEST) for name in self._topics]
            claim.take(names, limit)
            self._topics.rotate(-1)
            self._unreturned = {leased.token for leased in claim.batch}
            return Found(claim.batch, claim.due, file.version_within(db))

    def _give_back(self) -> None:
        with self._access.file.transaction(durable=False) as db:
            now = self._access.time()
            store.release(db, self._unreturned, now)
            for token in self._held:
                store.nack(db, token, 0.0, now)

    async def _wait(self, found: Found, news: anyio.Event) -> None:
        """Wait until there is a reason to look again."""
        access, pause = self._access, self._poll
        while True:
            left = max(SHORTEST_WAIT, found.due - access.time())
            with anyio.move_on_after(min(pause, left)):
                await news.wait()
            if news.is_set() or access.time() >= found.due:
                return
            if await access.run(access.file.version) != found.version:
                return
            pause = min(pause * 1.5, max(self._poll, LONGEST_POLL))

    def _announce(self, batch: Sequence[Settlement]) -> None:
        topics = {s.dead_letter.topic for s in batch if s.dead_letter is not None}
        if any(settlement.verb is Verb.NACK for settlement in batch):
            topics.update(self._topics)
        if topics:
            self._access.announce(topics)
