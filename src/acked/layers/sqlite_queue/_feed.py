"""A consumer of a queue file: how it waits, and how cancelling it loses nothing.

Blocking work runs in a thread, one at a time for each layer. A receive may be cancelled while its
claim runs, natively too, where nobody hears the thread's answer. So the thread itself notes what
it has leased, and the next claim gives that back first, uncharged, in its own transaction.
"""

import logging
import secrets
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

import anyio

from acked.clocks import SystemClock
from acked.errors import ConnectionLost, LayerError
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._access import Access
from acked.layers.sqlite_queue._claim import Claim
from acked.layers.sqlite_queue._errors import is_busy
from acked.layers.sqlite_queue._file import Version
from acked.layers.sqlite_queue._key_order import ClaimInOrder, keep_keys
from acked.layers.sqlite_queue._removal import ALIVE_FOR, LISTENERS
from acked.layers.sqlite_queue._rows import GroupRow
from acked.layers.sqlite_queue._watch import LONGEST_POLL
from acked.types import Leased, Outcome, Reply, Settlement, Start, Token, Verb

__all__ = ("SQLiteQueueFeed",)

logger = logging.getLogger("acked.layers.sqlite_queue")

SYSTEM: Final = SystemClock()

SHORTEST_WAIT: Final = 0.002
"""No two looks follow one another faster, however near the next moment of interest is."""

SHRINK_AFTER: Final = 100
"""After how many settlements a consumer looks whether the file has room to give back."""

LEAVING: Final = 1.0
"""How long leaving a feed may wait for a file that another process holds, in seconds."""


class Found(NamedTuple):
    """What a look at the file brought: a batch, or when to look again."""

    batch: Sequence[Leased]
    due: float
    version: Version
    lag: int
    began: float


class SQLiteQueueFeed:
    """One consumer of a group.

    It waits for whatever comes first: a publish or nack through this layer, the end of a delay or
    a lease, another version of the file. Only the last one needs polling (see `_watch`).
    """

    def __init__(
        self,
        access: Access,
        topics: Iterable[str],
        group: str,
        *,
        lease: float,
        poll: float,
        in_key_order: bool = False,
    ) -> None:
        self._access = access
        self._topics = deque(topics)
        self._group = group
        self._lease = lease
        self._poll = poll
        self._in_key_order = in_key_order
        self.leased_at = 0.0
        """When the claim of the last batch was begun, by the system's clock."""
        self._lag = 0
        self._feed = secrets.randbits(62)
        self._grps: Sequence[int] = ()
        self._beat_due = 0.0
        self._since_shrink = 0
        self._held: set[Token] = set()
        self._looking = 0
        """The number of the claim that runs, or 0."""
        self._latest = 0
        """The number of the claim that was begun last; an earlier one is nobody's any more."""
        self._unreturned: set[Token] = set()
        """What a claim has leased and not returned yet."""

    def __repr__(self) -> str:
        return f"<feed of {len(self._topics)} topics, {len(self._held)} held>"

    async def join(self, start: Start) -> None:
        """Make the group known to every topic."""

        def job() -> None:
            with self._access.file.transaction() as db:
                self._lives(db, [self._joined(db, one, start) for one in self._topics])

        await self._access.run(job)

    def lag(self) -> int:
        """Return what was published and not given to the group, as of the last look at the file."""
        return self._lag

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Lease up to `limit`; what a cancelled call has leased is given back by the next one."""
        try:
            while True:
                # Before the look: what is published after it must wake us.
                with self._access.news(tuple(self._topics)) as news:
                    found = await self._look(limit)
                    if found.batch:
                        return found.batch
                    await self._wait(found, news)
        finally:
            self._access.watch.leave(self)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Settle `batch` in one transaction; why not, for what the file does not take."""

        def job() -> list[Reply]:
            with self._access.file.transaction() as db:
                answers = store.settle(db, batch, self._access.time())
            self._since_shrink += len(batch)
            if self._since_shrink >= SHRINK_AFTER:
                self._since_shrink = 0
                self._access.file.shrink()
            return answers

        try:
            answers = await self._access.run(job)
        except LayerError as error:
            if len(batch) > 1 and not (isinstance(error, ConnectionLost) or is_busy(error)):
                # One that is refused does not spoil the others.
                return [answer for one in batch for answer in await self.settle([one])]
            return [error] * len(batch)
        refused = {
            one.token
            for one, answer in zip(batch, answers, strict=True)
            if answer.__class__ is not Outcome
        }
        self._held.difference_update({one.token for one in batch} - refused)
        self._announce(batch)
        return answers

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        """Let the leases of `tokens` end `seconds` from now; LOST where there is none."""

        def job() -> list[Outcome]:
            with self._access.file.transaction(durable=False) as db:
                # Here too: who renews and has no room for more does not look any more.
                self._lag = store.lag(db, self._grps)
                self._beat(db)
                return store.extend(db, tokens, seconds, self._access.time())

        try:
            outcomes = await self._access.run(job)
        except LayerError as error:
            return [error] * len(tokens)
        pairs = zip(tokens, outcomes, strict=True)
        self._held.difference_update(token for token, one in pairs if one is Outcome.LOST)
        return outcomes

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back; their next delivery has the same attempt."""

        def job() -> None:
            with self._access.file.transaction(durable=False) as db:
                store.release(db, tokens)

        try:
            await self._access.run(job)
        except LayerError as error:
            logger.warning("leases will end by themselves: %s", error)
            return
        self._held.difference_update(tokens)
        self._access.announce(self._topics)

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note that `token` is handled alone, or not; see `acked.abc.LastChanceFeed`."""

        def job() -> Outcome:
            with self._access.file.transaction() as db:
                return store.note_alone(db, token, alone=alone)

        return token if await self._access.run(job) is Outcome.CONFIRMED else None

    async def leave(self) -> None:
        """Give back whatever is held; bounded in time, also under cancellation."""
        with anyio.move_on_after(LEAVING, shield=True):
            try:
                await self._access.run(self._give_back)
            except LayerError as error:
                logger.warning("leases will end by themselves: %s", error)
        self._access.announce(self._topics)

    async def _look(self, limit: int) -> Found:
        self._latest += 1
        self._looking = self._latest
        found = await self._access.run(partial(self._claim, limit, self._latest))
        # Race: not reached if this task was cancelled meanwhile, whether by anyio or natively; the
        # thread has noted what it leased. From here to the caller there is no await.
        tokens = {leased.token for leased in found.batch}
        self.leased_at, self._lag = found.began, found.lag
        self._looking = 0
        self._unreturned = set()
        self._held |= tokens
        return found

    def _claim(self, limit: int, number: int) -> Found:
        """Lease what is there. Runs in a thread, as does `_give_back`."""
        file, began = self._access.file, SYSTEM.time()
        self._access.sweep_if_due()
        with file.transaction(durable=False) as db:
            if number != self._latest:
                # Race: begun for a receive that was cancelled natively, and not waited for.
                return Found((), 0.0, file.version_within(db), self._lag, began)
            store.release(db, self._unreturned)
            now = self._access.time()
            kind = ClaimInOrder if self._in_key_order else Claim
            claim = kind(db, lease=self._lease, now=now, held=self._held)
            queues = [self._queue(db, name) for name in self._topics]
            self._lives(db, queues)
            claim.take(queues, limit)
            self._topics.rotate(-1)
            self._unreturned = {leased.token for leased in claim.batch}
            return Found(claim.batch, claim.due, file.version_within(db), claim.lag, began)

    def _queue(self, db: sqlite3.Connection, topic: str) -> GroupRow:
        """Return what the group owes of `topic`.

        One that is gone was deleted with the file: what is in the new one, it owes. That of a
        listener was swept, since it was not heard of; what it has missed, it cannot know.
        """
        if self._group.startswith(LISTENERS) and store.find(db, topic, self._group) is None:
            raise LayerError(
                f"group {self._group!r} was removed, since its listener was silent for too long: "
                "messages were missed; subscribe again"
            )
        return self._joined(db, topic, Start.EARLIEST)

    def _joined(self, db: sqlite3.Connection, topic: str, start: Start) -> GroupRow:
        queue = store.join(db, topic, self._group, start)
        return keep_keys(db, queue) if self._in_key_order else queue

    def _lives(self, db: sqlite3.Connection, queues: Iterable[GroupRow]) -> None:
        """Note the groups, and say that we live where that is due, or where they are new."""
        grps = [queue.grp for queue in queues]
        if set(grps) != set(self._grps):
            self._grps, self._beat_due = grps, 0.0
        self._beat(db)

    def _beat(self, db: sqlite3.Connection) -> None:
        awake = self._access.awake()
        if awake >= self._beat_due:
            before = db.total_changes
            store.heartbeat(db, self._grps, self._feed, awake + ALIVE_FOR)
            self._access.file.count_no_news(db.total_changes - before)
            self._beat_due = awake + ALIVE_FOR / 3

    def _give_back(self) -> None:
        with self._access.file.transaction(durable=False) as db:
            store.release(db, self._unreturned)
            for token in self._held:
                store.nack(db, token, 0.0, self._access.time(), failed=False)
            self._latest = 0
            store.leave(db, self._grps, self._feed)
        self._access.file.shrink()

    async def _wait(self, found: Found, news: anyio.Event) -> None:
        """Wait until there is a reason to look again."""
        access, watch, pause = self._access, self._access.watch, self._poll
        watch.saw(self, found.version)
        while True:
            looks = pause < LONGEST_POLL or watch.is_kept_by(self, found.version, news)
            due = min(found.due - access.time(), self._beat_due - access.awake())
            with anyio.move_on_after(max(SHORTEST_WAIT, min(pause, due) if looks else due)):
                await news.wait()
            if news.is_set() or access.time() >= found.due or access.awake() >= self._beat_due:
                return
            if looks:
                version = await access.run(access.file.version)
                watch.saw(self, version)
                if version != found.version:
                    return
            pause = min(pause * 1.5, max(self._poll, LONGEST_POLL))

    def _announce(self, batch: Sequence[Settlement]) -> None:
        topics = {s.dead_letter.topic for s in batch if s.dead_letter is not None}
        # In order, an ack frees what comes after it.
        if self._in_key_order or any(one.verb is Verb.NACK for one in batch):
            topics.update(self._topics)
        if topics:
            self._access.announce(topics)
