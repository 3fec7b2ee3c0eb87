"""One consumer of a group on Kafka: what is buffered, held and delayed, and how it is settled."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from acked.errors import LayerError
from acked.layers.kafka._client import SILENT
from acked.layers.kafka._membership import Membership
from acked.layers.kafka._partition import DeliveryToken, Partition
from acked.layers.kafka._records import Fetched, leased_first
from acked.types import Leased, Outcome, Record, Settlement, Token, Verb

__all__ = ("KafkaFeed",)

Publish: TypeAlias = Callable[[Sequence[Record]], Coroutine[Any, Any, Mapping[int, Exception]]]
"""Publishes and returns what failed, by position."""
Join: TypeAlias = Callable[["KafkaFeed"], Coroutine[Any, Any, Membership]]


NACK: Final = Verb.NACK


class KafkaFeed:
    """Receives, settles and gives back, as `acked.abc.AckFeed` says."""

    def __init__(self, join: Join, publish: Publish, in_flight: int) -> None:
        self._join = join
        self._publish = publish
        self._in_flight = in_flight
        self._membership: Membership | None = None
        self._joining: asyncio.Task[None] | None = None
        self._buffer: deque[Leased] = deque()
        self._changed: Final = asyncio.Event()
        self._held: Final[dict[Token, Leased]] = {}
        self._wanted = 0
        self._failure: LayerError | None = None
        self._is_broken = False
        self._timers: set[asyncio.TimerHandle] = set()

    def __repr__(self) -> str:
        return f"<KafkaFeed, {len(self._held)} held, {len(self._buffer)} buffered>"

    async def enter(self) -> None:
        """Join the group; a join that was begun and cancelled before is taken up again."""
        joining = self._joining = self._joining or asyncio.create_task(self._rejoin())
        # A join given up half-way would stay a member that nobody knows until its session ends.
        await asyncio.shield(joining)
        self._joining = None

    async def leave(self) -> None:
        """Give everything back by leaving the group: what is uncommitted comes again."""
        joining, self._joining = self._joining, None
        if joining is not None:
            await asyncio.wait({joining}, timeout=SILENT)
            joining.cancel()
            await asyncio.wait({joining})
            if not joining.cancelled():
                joining.exception()
        membership, self._membership = self._membership, None
        if membership is not None:
            await membership.leave()
        self.revoked()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for records; see `AckFeed.receive`. After a failure the group is joined anew."""
        self._wanted = limit
        try:
            while not self._buffer:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    self._is_broken = True
                    raise failure
                if self._is_broken:
                    await self._recover()
                    continue
                self._changed.clear()
                self._free()
                await self._changed.wait()
            return self._taken(limit)
        finally:
            self._wanted = 0

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Carry out `batch`, with one commit for all of it; see `AckFeed.settle`."""
        unburied = await self._bury(batch)
        outcomes = [Outcome.LOST] * len(batch)
        settled: defaultdict[Partition, list[int]] = defaultdict(list)
        tokens = _delivery_tokens([settlement.token for settlement in batch])
        held, take = self._held, self._held.pop
        for i, token in enumerate(tokens):
            leased = take(token, None)
            if leased is None:
                continue
            if unburied and i in unburied:
                held[token] = leased
                outcomes[i] = Outcome.UNKNOWN
            elif batch[i].verb is NACK:
                self._delay(leased, batch[i].delay)
                outcomes[i] = Outcome.CONFIRMED
            else:
                settled[token.partition].append(i)
        for partition, members in settled.items():
            partition.settle([tokens[i].offset for i in members])
        versions = [partition.version for partition in settled]
        failed = await self._commit(settled) if settled else Outcome.LOST
        for (partition, members), version in zip(settled.items(), versions, strict=True):
            answer = Outcome.CONFIRMED if partition.durable >= version else failed
            for i in members:
                outcomes[i] = answer
        self._free()
        return outcomes

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Never called: `capabilities.extend` is off, for a membership has no end in time."""
        del seconds
        return [Outcome.LOST] * len(tokens)

    async def release(self, tokens: Sequence[Token]) -> None:
        """Hand `tokens` out again as if they never were, unless the group is being left."""
        back = [self._held.pop(token) for token in _delivery_tokens(tokens) if token in self._held]
        self._buffer.extendleft(reversed(back))
        self._changed.set()

    def room(self) -> int:
        """Return how many more records may be read: `in_flight` bounds held and buffered."""
        return max(self._in_flight - len(self._held), self._wanted) - len(self._buffer)

    def arrived(self, partition: Partition, records: list[Fetched]) -> None:
        """Buffer `records`, except those the group has settled before."""
        leased = leased_first(partition, records)
        offsets = [one.token.offset for one in cast("list[Any]", leased)]
        owed = partition.arrived(offsets)
        if len(owed) < len(offsets):
            wanted = frozenset(owed)
            pairs = zip(offsets, leased, strict=True)
            leased = [one for offset, one in pairs if offset in wanted]
        self._buffer.extend(leased)
        self._changed.set()

    def lag(self) -> int | None:
        """Return how many records of our partitions were not handed to the engine; see `LagFeed`.

        It counts offsets: what compaction removed and the marks of transactions are among them.
        """
        behind = None if self._membership is None else self._membership.lag()
        return None if behind is None else behind + len(self._buffer)

    def withdraw(self, partition: Partition | None = None) -> None:
        """Hand out nothing of what is buffered and delayed: it comes again, here or elsewhere.

        With `partition`, only nothing of that: its log is not there any more.
        """
        if partition is not None:
            tokens = _delivery_tokens([leased.token for leased in self._buffer])
            pairs = zip(tokens, self._buffer, strict=True)
            self._buffer = deque(one for token, one in pairs if token.partition is not partition)
            return
        self._buffer.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def revoked(self) -> None:
        """Forget all that came so far: what is held of it cannot be settled any more."""
        self.withdraw()
        self._held.clear()

    def failed(self, error: LayerError) -> None:
        """Let the next receive raise `error`."""
        self._failure = error
        self._changed.set()

    def _taken(self, limit: int) -> list[Leased]:
        buffer = self._buffer
        taken = [buffer.popleft() for _ in range(min(limit, len(buffer)))]
        self._held.update(
            zip(_delivery_tokens([leased.token for leased in taken]), taken, strict=True)
        )
        self._free()
        return taken

    def _delay(self, before: Leased, seconds: float) -> None:
        (token,) = _delivery_tokens([before.token])
        again = msgspec.structs.replace(
            before, token=DeliveryToken(token.partition, token.offset), attempt=before.attempt + 1
        )
        if seconds <= 0:
            self._put_back(again)
            return

        def due() -> None:
            self._timers.discard(timer)
            if token.partition.is_ours:
                self._put_back(again)

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

    def _put_back(self, leased: Leased) -> None:
        self._buffer.appendleft(leased)
        self._changed.set()

    def _free(self) -> None:
        if self._membership is not None:
            self._membership.freed.set()

    async def _bury(self, batch: Sequence[Settlement]) -> set[int]:
        """Publish the dead letters of `batch`; return the positions of those that failed."""
        copies = [settlement.dead_letter for settlement in batch]
        if copies.count(None) == len(copies):
            return set()
        letters = {
            i: copy
            for i, copy in enumerate(copies)
            if copy is not None and batch[i].token in self._held
        }
        if not letters:
            return set()
        failures = await self._publish(list(letters.values()))
        return {position for n, position in enumerate(letters) if n in failures}

    async def _commit(self, touched: Iterable[Partition]) -> Outcome:
        if self._membership is None:
            return Outcome.LOST
        return await self._membership.commit(touched)

    async def _recover(self) -> None:
        try:
            await self.enter()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._joining = None
            raise
        self._is_broken = False

    async def _rejoin(self) -> None:
        membership, self._membership = self._membership, None
        if membership is not None:
            await membership.leave()
        self.revoked()
        self._failure = None
        self._membership = await self._join(self)


def _delivery_tokens(tokens: Sequence[Token]) -> Sequence[DeliveryToken]:
    return cast("Sequence[DeliveryToken]", tokens)
