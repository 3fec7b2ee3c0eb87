"""A consumer of a queue: how it waits, and how cancelling it loses nothing.

A claim runs in a task of its own. A `receive` that is cancelled leaves it alone, and what it leases
is given back, uncharged, when it has ended. Where its answer never came, the next claim gives back
whatever has the number of that lease.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Final, NamedTuple

import anyio

from acked.clocks import SystemClock
from acked.errors import ConnectionLost, LayerError
from acked.layers.postgres_queue._holdings import Holdings
from acked.layers.postgres_queue._life import FeedLife
from acked.layers.postgres_queue._next_look import NextLook, Outlook
from acked.layers.postgres_queue._patrol import Patrol
from acked.layers.postgres_queue._records import leased_from, outlook_from
from acked.layers.postgres_queue._settlements import arrays_of, replies_of, settle_plan
from acked.layers.postgres_queue._store import CLAIM_BYTES, LISTENERS, QueueStore, new_number
from acked.layers.postgres_queue._wakeups import Wakeups
from acked.types import Leased, Reply, Settlement, Start, Token, Verb

__all__ = ("PostgresQueueFeed",)

logger = logging.getLogger("acked.layers.postgres_queue")

SYSTEM: Final = SystemClock()

UNFAILED: Final = -1.0
"""The delay of a nack that says of no handler that it failed."""

LEAVING: Final = 1.5
"""How long leaving may wait for the server, in seconds."""


class Look(NamedTuple):
    """What a claim brought, when it was begun, and what is to come if there was room for more."""

    messages: Sequence[Leased]
    began: float
    outlook: Outlook | None


class PostgresQueueFeed:
    """One consumer of a group, for as long as `PostgresQueueLayer.consume` is entered."""

    def __init__(
        self,
        store: QueueStore,
        wakeups: Wakeups,
        patrol: Patrol,
        topics: Sequence[str],
        group: str,
        *,
        lease: float,
        in_key_order: bool = False,
    ) -> None:
        self.leased_at = 0.0
        """When the claim of the last batch was begun, by the system's clock."""
        self._store = store
        self._wakeups = wakeups
        self._next_look = NextLook(wakeups, patrol, topics, in_key_order=in_key_order)
        self._topics = [*topics]
        self._group = group
        self._lease = lease
        self._in_key_order = in_key_order
        self._topic_of: dict[int, str] = {}
        self._holdings = Holdings()
        self._strays: set[int] = set()
        """The numbers of claims whose answer never came."""
        self._returning: set[asyncio.Task[None]] = set()
        self._life = FeedLife(store, partial(wakeups.announce, self._topics))

    def __repr__(self) -> str:
        return f"<feed of {len(self._topics)} topics, {len(self._holdings)} held>"

    async def join(self, start: Start) -> None:
        """Make the group known to every topic, and say that it has a consumer."""
        store, in_order = self._store, self._in_key_order
        found = {
            await store.join(one, self._group, start, in_key_order=in_order): one
            for one in self._topics
        }
        self._topic_of = found
        self._next_look.guard(frozenset(found))
        await self._life.begin([*found])

    def lag(self) -> int | None:
        """Return what the group owes and was never given, as the server told seconds ago."""
        return self._life.lag()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Lease up to `limit`; what a cancelled call has leased is given back at once."""
        while True:
            await self._next_look.due()
            look = await self._looked(limit)
            if look.messages:
                return look.messages
            if look.outlook is not None and look.outlook.known < len(self._topic_of):
                self._next_look.at_once()
                await self._rejoin()

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Settle `batch` in one statement; why not, for what the server refuses."""
        began, plan = SYSTEM.time(), settle_plan(batch)
        try:
            places = await self._store.call(self._store.functions.settle, plan.arguments)
        except LayerError as error:
            if isinstance(error, ConnectionLost):
                self._holdings.doubt(batch)
            elif len(batch) > 1 and not error.may_pass:
                # One that is refused does not spoil the others.
                return [answer for one in batch for answer in await self.settle([one])]
            return [error] * len(batch)
        replies = self._holdings.settled(batch, plan.replies(places, len(batch)), began)
        self._announce(batch)
        return replies

    async def settle_in(
        self, connection: object, batch: Sequence[Settlement], /
    ) -> Sequence[Reply]:
        """Settle in the user's transaction; see `acked.abc.TransactionalFeed`."""
        plan = settle_plan(batch, announce=True)
        places = await self._store.call_in(connection, self._store.functions.settle, plan.arguments)
        replies = plan.replies(places, len(batch))
        self._holdings.drop([one.token for one in batch])
        return replies

    def unless_committed(self, token: Token, delay: float, /) -> None:
        """Nack `token` unless the transaction commits in which it was settled."""
        self._life.nack_later(token, delay)

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        """Let the leases of `tokens` end `seconds` from now; LOST where there is none."""
        until = SYSTEM.time() + seconds
        arrays = arrays_of(tokens)
        try:
            places = await self._store.value(self._store.functions.extend, *arrays, seconds)
        except LayerError as error:
            return [error] * len(tokens)
        replies = replies_of(places, len(tokens))
        self._holdings.extended(tokens, replies, until)
        return replies

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note that `token` is handled alone, or not; see `acked.abc.LastChanceFeed`."""
        (grp,), (seq,), (number,) = arrays_of([token])
        statement = self._store.functions.note_alone
        is_ours = await self._store.value(statement, grp, seq, number, int(alone))
        return token if is_ours else None

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back; their next delivery has the same attempt."""
        try:
            await self._release(tokens)
        except LayerError as error:
            logger.warning("leases will end by themselves: %s", error)
        else:
            self._wakeups.announce(self._topics)

    async def leave(self) -> None:
        """Give back whatever is held; bounded in time, also under cancellation."""
        with anyio.move_on_after(LEAVING, shield=True):
            await self._next_look.end()
            await self._life.end()
            for task in tuple(self._returning):
                await asyncio.wait([task])
            try:
                await self._give_back_the_rest()
            except LayerError as error:
                logger.warning("leases will end by themselves: %s", error)
            self._wakeups.announce(self._topics)
        for task in self._returning:
            task.cancel()

    async def _looked(self, limit: int) -> Look:
        self._next_look.begin()
        claim = asyncio.create_task(self._claim(limit), name="acked: claim")
        try:
            look = await asyncio.shield(claim)
        except BaseException as error:
            self._next_look.at_once()
            if isinstance(error, asyncio.CancelledError):
                giving = asyncio.create_task(self._give_back(claim), name="acked: give back")
                self._returning.add(giving)
                giving.add_done_callback(self._returning.discard)
            raise
        # From here to the caller there is no await.
        self.leased_at = look.began
        tokens = [leased.token for leased in look.messages]
        self._holdings.hold(tokens, look.began + self._lease)
        self._next_look.after(look.outlook, found=bool(tokens))
        return look

    async def _claim(self, limit: int) -> Look:
        functions, grps = self._store.functions, [*self._topic_of]
        if self._strays:
            strays = [*self._strays]
            await self._store.value(functions.release_claims, grps, strays)
            self._strays.difference_update(strays)
        number, began = new_number(), SYSTEM.time()
        most = CLAIM_BYTES // len(grps)
        try:
            look = functions.look_in_order if self._in_key_order else functions.look
            rows = await self._store.rows(
                look, grps, limit, self._lease, number, self._holdings.numbers(), most
            )
        except LayerError:
            self._strays.add(number)
            raise
        outlook = outlook_from(rows)
        found = sorted(rows[: -1 if outlook else None], key=itemgetter("rank", "seq"))
        topics = self._topic_of
        messages = [leased_from(row, topics[row["grp"]], number) for row in found]
        # The next claim begins with another topic: where there are more of them than room.
        first = next(iter(self._topic_of))
        self._topic_of[first] = self._topic_of.pop(first)
        return Look(messages, began, outlook)

    async def _give_back(self, claim: "asyncio.Task[Look]") -> None:
        """Give back what `claim` leases for nobody."""
        try:
            found = await claim
            await self._release([leased.token for leased in found.messages])
        except LayerError as error:
            logger.debug("a claim that was given up comes free by itself: %s", error)
        else:
            if found.messages:
                self._wakeups.announce(self._topics)

    async def _release(self, tokens: Sequence[Token]) -> None:
        if tokens:
            arrays = arrays_of(tokens)
            await self._store.value(self._store.functions.release, *arrays)
            self._holdings.drop(tokens)

    async def _rejoin(self) -> None:
        """Make the group again: somebody deleted the tables' rows, and what is in them we owe.

        That of a listener was swept, since it was not heard of; what it missed it cannot know.
        """
        if self._group.startswith(LISTENERS):
            raise LayerError(
                f"group {self._group!r} was removed, since its listener was silent for too long: "
                "messages were missed; subscribe again"
            )
        await self.join(Start.EARLIEST)

    async def _give_back_the_rest(self) -> None:
        store, grps = self._store, [*self._topic_of]
        await self._life.nack_what_was_rolled_back()
        if self._strays:
            await store.value(store.functions.release_claims, grps, [*self._strays])
        held = [Settlement(token, Verb.NACK, UNFAILED) for token in self._holdings]
        if held:
            await store.call(store.functions.settle, settle_plan(held).arguments)
        await store.value(store.functions.farewell, grps, self._life.number)

    def _announce(self, batch: Sequence[Settlement]) -> None:
        topics = {one.dead_letter.topic for one in batch if one.dead_letter is not None}
        if any(one.verb is Verb.NACK for one in batch):
            topics.update(self._topics)
        if topics:
            self._wakeups.announce(topics)
