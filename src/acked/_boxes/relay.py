"""Moves what is committed in an outbox to a channel.

Rules:

1. A page is kept from other relays while it is moved. Rows of one key go one after the other, each
   once the broker has confirmed the one before; other keys go beside them.
2. A row is deleted when the broker has confirmed it, and not before. Whatever happens between the
   two, it is published again, with the same id; what came first of each message is in order by key.
3. While the broker is away, or busy, all wait. A row that it refuses keeps those of its own key
   waiting, for `give_up_after` seconds; then it is set aside: it stays in the table, for people.
4. Stopped, it ends the page that it is at, within some seconds.
"""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import anyio
import msgspec

from acked._boxes.contracts import Moved, OutboxRow, OutboxSource, OutboxStore
from acked._core.channel import Channel
from acked._core.episode import Episode
from acked._core.reconnect import ReconnectBudget
from acked._machines.backoff import Backoff
from acked.clocks import SystemClock
from acked.errors import AckedError, ChannelClosed, LayerError, PublishFailed
from acked.types import Topic

__all__ = ("Relay",)

logger = logging.getLogger("acked.outbox")

T = TypeVar("T")

BACKOFF: Final = Backoff(initial=0.05, factor=2.0, maximum=5.0)
PAGE_SECONDS: Final = 5.0
"""After which no more of a page is begun."""
PATIENCE: Final = 30.0
"""Seconds in which a page must be done; a broker that takes longer counts as away."""


class AsItIs(msgspec.Struct, frozen=True):
    """A codec for bodies that are encoded already."""

    content_type: str

    def encoder(self, payload: type[T]) -> Callable[[T], Any]:  # noqa: ARG002 - the contract's
        """Return what leaves bytes as they are."""
        return _same

    def decoder(self, payload: type[T]) -> Callable[[Any], T]:  # noqa: ARG002 - the contract's
        """Return what leaves bytes as they are."""
        return _same


def _same(body: Any) -> Any:
    return body


@lru_cache(1024)
def _topic(name: str, content_type: str) -> Topic[bytes]:
    return Topic(name, bytes, codec=AsItIs(content_type))


class PageMove:
    """Publishes the rows of one page, and knows what became of them."""

    def __init__(self, channel: Channel[Any]) -> None:
        self._channel = channel
        self.published: list[OutboxRow] = []
        self.refused: list[tuple[OutboxRow, str]] = []
        self.outage: AckedError | None = None
        """Why the rest was not published, if something is in the way of all."""

    async def run(self, rows: Sequence[OutboxRow]) -> None:
        """Publish `rows`; raises nothing."""
        with anyio.move_on_after(PATIENCE) as scope:
            async with anyio.create_task_group() as tasks:
                until = anyio.current_time() + PAGE_SECONDS
                for queue in _queues(rows):
                    tasks.start_soon(self._in_turn, queue, until)
        if scope.cancelled_caught:
            self.outage = LayerError(f"no answer within {PATIENCE:g} s", may_pass=True)

    async def _in_turn(self, queue: Iterable[OutboxRow], until: float) -> None:
        for row in queue:
            if self.outage is not None or anyio.current_time() > until:
                return
            try:
                await self._channel.publish(
                    _topic(row.topic, row.content_type),
                    row.body,
                    id=row.id,
                    key=row.key,
                    headers=row.headers or None,
                )
            except AckedError as error:
                if _is_in_the_way_of_all(error):
                    self.outage = error
                else:
                    self.refused.append((row, str(error)))
                return
            self.published.append(row)


def _queues(rows: Iterable[OutboxRow]) -> Iterator[Sequence[OutboxRow]]:
    """Give what must go one after the other, each in its order."""
    by_key: dict[str, list[OutboxRow]] = {}
    for row in rows:
        if row.key is None:
            yield (row,)
        else:
            by_key.setdefault(row.key, []).append(row)
    yield from by_key.values()


def _is_in_the_way_of_all(error: AckedError) -> bool:
    """Say whether `error` is the broker's state, or ours, and not the message's."""
    if isinstance(error, PublishFailed):
        of_members = error.failures.values()
        return error.indeterminate or all(
            isinstance(one, LayerError) and one.may_pass for one in of_members
        )
    return isinstance(error, ChannelClosed) or (isinstance(error, LayerError) and error.may_pass)


class Relay:
    """Moves rows until it is cancelled; run it once."""

    def __init__(self, store: OutboxStore, channel: Channel[Any], give_up_after: float) -> None:
        self._store = store
        self._channel = channel
        self._give_up_after = give_up_after
        self._episode = Episode(logger, "the outbox is being published again")
        self._fruitless = 0
        """Turns, one after the other, that published nothing of what there was."""

    async def run(self) -> None:
        """Move rows; raise what does not pass: of the database, or `ChannelClosed`."""
        budget = ReconnectBudget(BACKOFF, None, SystemClock())
        while True:
            try:
                await self._store.prepare()
                async with self._store.relaying() as source:
                    budget.reset()
                    while True:
                        await self._turn(source)
            except LayerError as error:
                await budget.wait(error)

    async def _turn(self, source: OutboxSource) -> None:
        move = PageMove(self._channel)
        rows: Sequence[OutboxRow] = ()
        with anyio.CancelScope(shield=True):
            async with source.page() as rows:
                if rows:
                    await move.run(rows)
                    await source.settle(self._judged(move))
        await anyio.lowlevel.checkpoint()
        await self._rest(source, move, is_empty=not rows)

    async def _rest(self, source: OutboxSource, move: PageMove, *, is_empty: bool) -> None:
        if isinstance(move.outage, ChannelClosed):
            raise move.outage
        if is_empty:
            await source.wait()
            return
        self._episode.note(move.outage)
        self._fruitless = 0 if move.published else self._fruitless + 1
        if move.outage is not None or self._fruitless:
            chance = random.random()  # noqa: S311 - no secret
            await anyio.sleep(BACKOFF.delay(self._fruitless + 1, chance))

    def _judged(self, move: PageMove) -> Moved:
        """Tell what is to be tried again from what has been refused for too long."""
        again: list[tuple[OutboxRow, str]] = []
        aside: list[tuple[OutboxRow, str]] = []
        for row, why in move.refused:
            is_last = row.refused_for >= self._give_up_after
            (aside if is_last else again).append((row, why))
            if is_last:
                logger.error("message %r of %r is set aside: %s", row.id, row.topic, why)
            elif not row.refused_for:
                logger.warning("message %r of %r is refused: %s", row.id, row.topic, why)
        return Moved(move.published, again, aside)
