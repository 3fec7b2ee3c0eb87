"""A consumer of a queue file: how it waits, and how cancelling it loses nothing.

Blocking work runs in a thread, one at a time for each layer. A receive may be cancelled while its
claim runs, natively too, where nobody hears the thread's answer. So the thread itself notes what
it has leased, and the next claim gives that back first, uncharged, in its own transaction.
"""

import logging
import math
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
from acked.layers.sqlite_queue._key_order import ClaimInOrder
from acked.layers.sqlite_queue._presence import Presence
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
        self._topics = frozenset(topics)
        self._presence = Presence(access, sorted(self._topics), group, in_key_order=in_key_order)
        self._lease = lease
        self._poll = poll
        self._pause = poll
        """How long to wait until the next look for what others did; less after news."""
        self._in_key_order = in_key_order
        self.leased_at = 0.0
        """When the claim of the last batch was begun, by the system's clock."""
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
            with self._presence.transaction() as db:
                self._presence.join(db, start)

        await self._access.run(job)

    def lag(self) -> int:
        """Return what was published and not given to the group, as of the last look at the file.

        Of more than 32 topics together it may be as of some seconds before.
        """
        return self._presence.lag

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Lease up to `limit`; what a cancelled call has leased is given back by the next one."""
        self._pause = self._poll
        try:
            while True:
                # Before the look: what is published after it must wake us.
                with self._access.news(self._topics) as news:
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
            with self._presence.transaction() as db:
                # Here too: who renews and has no room for more does not look any more.
                self._presence.count(db)
                self._presence.beat(db)
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
        self._presence.end()
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
        self.leased_at = found.began
        self._looking = 0
        self._unreturned = set()
        self._held |= tokens
        return found

    def _claim(self, limit: int, number: int) -> Found:
        """Lease what is there. Runs in a thread, as does `_give_back`."""
        file, began = self._access.file, SYSTEM.time()
        self._access.sweep_if_due()
        with self._presence.transaction() as db:
            if number != self._latest:
                # Race: begun for a receive that was cancelled natively, and not waited for.
                return Found((), 0.0, file.version_within(db), began)
            store.release(db, self._unreturned)
            now = self._access.time()
            kind = ClaimInOrder if self._in_key_order else Claim
            claim = kind(db, lease=self._lease, now=now, held=self._held)
            claim.take(self._presence.turns(db), limit)
            self._presence.count(db, claim.fetched)
            self._unreturned = {leased.token for leased in claim.batch}
            return Found(claim.batch, claim.due, file.version_within(db), began)

    def _give_back(self) -> None:
        with self._access.file.transaction(durable=False) as db:
            store.release(db, self._unreturned)
            for token in self._held:
                store.nack(db, token, 0.0, self._access.time(), failed=False)
            self._latest = 0
            self._presence.leave(db)
        self._access.file.shrink()

    async def _wait(self, found: Found, news: anyio.Event) -> None:
        """Wait until there is a reason to look again."""
        access, watch = self._access, self._access.watch
        watch.saw(self, found.version)
        while True:
            looks = self._pause < LONGEST_POLL or watch.is_kept_by(self, found.version, news)
            # Who relies on another one's looks relies on that one's signs of life, too.
            beat_due = access.beat_due if looks else math.inf
            due = min(found.due - access.time(), beat_due - access.awake())
            with anyio.move_on_after(max(SHORTEST_WAIT, min(self._pause, due) if looks else due)):
                await news.wait()
            if news.is_set() or access.time() >= found.due or access.awake() >= beat_due:
                return
            if looks:
                version = await access.run(access.file.version)
                watch.saw(self, version)
                if version != found.version:
                    self._pause = self._poll
                    return
            self._pause = min(self._pause * 1.5, max(self._poll, LONGEST_POLL))

    def _announce(self, batch: Sequence[Settlement]) -> None:
        topics = {s.dead_letter.topic for s in batch if s.dead_letter is not None}
        # In order, an ack frees what comes after it.
        if self._in_key_order or any(one.verb is Verb.NACK for one in batch):
            topics.update(self._topics)
        if topics:
            self._access.announce(topics)
