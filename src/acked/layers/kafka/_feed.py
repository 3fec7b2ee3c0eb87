"""One consumer of a group on Kafka: what is buffered, held and delayed, and how it is settled.

Longer than 300 lines: settling is one flow over what is held, and reads best in one place.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from acked.errors import ConnectionLost, LayerError
from acked.layers.kafka._backlog import Backlog
from acked.layers.kafka._client import SILENT
from acked.layers.kafka._dead_letters import DeadLetters, Publish
from acked.layers.kafka._membership import Membership
from acked.layers.kafka._noting import Noting
from acked.layers.kafka._partition import DeliveryToken, Partition
from acked.layers.kafka._records import Fetched, leased_first
from acked.types import Leased, Outcome, Reply, Settlement, Token, Verb

__all__ = ("KafkaFeed",)


class Join(Protocol):
    """Joins the group."""

    async def __call__(self, owner: "KafkaFeed", *, is_first: bool) -> Membership:
        """Return our membership of the group, which we join for the first time, or again."""
        ...


NACK: Final = Verb.NACK
MARKS: Final = 1 << 21
"""Of consumers: three bytes beside each commit. Two alike would not see each other's death."""


class KafkaFeed:
    """Receives, settles and gives back, as `acked.abc.AckFeed` says."""

    def __init__(self, join: Join, publish: Publish, in_flight: int) -> None:
        self._join = join
        self._dead_letters: Final = DeadLetters(publish)
        self._in_flight = in_flight
        self._membership: Membership | None = None
        self._joining: asyncio.Task[None] | None = None
        self.backlog: Final = Backlog()
        self.mark: Final = 1 + secrets.randbelow(MARKS - 1)
        """By which it knows its own notes; see `_custody`."""
        self._noting: Final = Noting(self.backlog, self._committed)
        self.held: Final[dict[Token, Leased]] = {}
        self._undecided: Final[set[Token]] = set()
        """Whose settlement was not answered before their partition was lost."""
        self._wanted = 0
        self._failure: LayerError | None = None
        self._is_broken = False
        self._timers: set[asyncio.TimerHandle] = set()

    def __repr__(self) -> str:
        return f"<KafkaFeed, {len(self.held)} held, {len(self.backlog)} buffered>"

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
            await asyncio.gather(joining, return_exceptions=True)
        membership, self._membership = self._membership, None
        if membership is not None:
            await membership.leave()
        for timer in self._timers:
            timer.cancel()

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for records; see `AckFeed.receive`. After a failure the group is joined anew."""
        self._wanted = limit
        try:
            while not self.backlog or not await self._noting.let_hand_out(limit):
                await self._refill()
            return self._taken(limit)
        finally:
            self._wanted = 0

    async def _refill(self) -> None:
        """Wait until there is something to hand out."""
        while not self.backlog:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                self._is_broken = True
                raise failure
            if self._is_broken:
                await self._recover()
                continue
            self.backlog.changed.clear()
            self._free()
            await self.backlog.changed.wait()

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Carry out `batch`, with one commit for all of it; see `AckFeed.settle`."""
        refused = await self._dead_letters.send(batch, self.held)
        replies: list[Reply] = [Outcome.LOST] * len(batch)
        settled: defaultdict[Partition, list[int]] = defaultdict(list)
        tokens = _delivery_tokens([settlement.token for settlement in batch])
        held, decide, nacked = self.held, dict[int, Verb](), list[DeliveryToken]()
        for i, token in enumerate(tokens):
            if token not in held:
                if token in self._undecided:
                    decide[i] = batch[i].verb
            elif refused and i in refused:
                replies[i] = refused[i]
            elif batch[i].verb is NACK:
                replies[i] = self._nack(held.pop(token), batch[i].delay)
                nacked.append(token)
            else:
                settled[token.partition].append(i)
        if settled:
            await self._commit(tokens, settled, replies)
        if decide:
            await self._decide(tokens, decide, replies)
        await self._noting.nacked(nacked)
        self._free()
        return replies

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Never called: `capabilities.extend` is off, for a membership has no end in time."""
        del seconds
        return [Outcome.LOST] * len(tokens)

    async def release(self, tokens: Sequence[Token]) -> None:
        """Hand `tokens` out again as if they never were, unless the group is being left."""
        released: list[DeliveryToken] = []
        for token in _delivery_tokens(tokens):
            leased = self.held.pop(token, None)
            if leased is not None:
                released.append(token)
                self.backlog.put_back(leased)
        await self._noting.released(released)

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note that `token` is handled alone, or not; see `acked.abc.LastChanceFeed`."""
        (known,) = _delivery_tokens([token])
        if known in self.held:
            await self._noting.note_alone(known, alone=alone)
        return token if known in self.held else None

    def room(self) -> int:
        """Return how many more records may be read: `in_flight` bounds held and buffered."""
        return max(self._in_flight - len(self.held), self._wanted) - len(self.backlog)

    def arrived(self, partition: Partition, records: list[Fetched]) -> None:
        """Buffer `records`, except those the group has settled before."""
        leased = leased_first(partition, records)
        offsets = [one.token.offset for one in cast("list[Any]", leased)]
        owed = partition.arrived(offsets)
        if len(owed) < len(offsets):
            wanted = frozenset(owed)
            pairs = zip(offsets, leased, strict=True)
            leased = [one for offset, one in pairs if offset in wanted]
        if not partition.custody.is_uncharged(offsets[0]):
            leased = list(map(_charged, leased))
        self.backlog.extend(leased)

    def lag(self) -> int | None:
        """Return how many records of our partitions were not handed to the engine; see `LagFeed`.

        It counts offsets: what compaction removed and the marks of transactions are among them.
        """
        behind = None if self._membership is None else self._membership.lag()
        return None if behind is None else behind + self.backlog.unseen

    def lost(self, partition: Partition) -> int:
        """Forget all that came of `partition`; return how much of it was handed out."""
        self.backlog.drop(partition)
        gone = [t for t in _delivery_tokens(list(self.held)) if t.partition is partition]
        for token in gone:
            self._lose(token)
        return len(gone)

    def failed(self, error: LayerError) -> None:
        """Let the next receive raise `error`."""
        self._failure = error
        self.backlog.changed.set()

    def _taken(self, limit: int) -> list[Leased]:
        taken = self.backlog.take(limit)
        self.held.update(
            zip(_delivery_tokens([leased.token for leased in taken]), taken, strict=True)
        )
        self._free()
        return taken

    def _nack(self, leased: Leased, delay: float) -> Outcome:
        """Let `leased` come again, unless an earlier settlement of it was carried out after all."""
        (token,) = _delivery_tokens([leased.token])
        self._dead_letters.forget([token])
        if token.partition.is_settled(token.offset):
            return Outcome.LOST
        again = msgspec.structs.replace(
            leased,
            token=DeliveryToken(token.partition, token.offset),
            attempt=leased.attempt + 1,
            failures=(leased.failures or 0) + 1,
            ended_alone=0,
        )
        if delay <= 0:
            self.backlog.put_back(again)
            return Outcome.CONFIRMED

        def due() -> None:
            self._timers.discard(timer)
            if token.partition.is_ours:
                self.backlog.put_back(again)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)
        return Outcome.CONFIRMED

    def _lose(self, token: DeliveryToken) -> None:
        del self.held[token]
        self._dead_letters.forget([token])
        if token.partition.is_undecided(token.offset):
            self._undecided.add(token)

    def _free(self) -> None:
        if self._membership is not None:
            self._membership.reader.freed.set()

    async def _committed(self, partitions: Collection[Partition]) -> Mapping[Partition, LayerError]:
        """Commit what changed in `partitions`; return what went wrong, and where."""
        membership = self._membership
        if membership is None:
            return dict.fromkeys(partitions, _joining_again())
        return await membership.committer.commit(partitions)

    async def _commit(
        self,
        tokens: Sequence[DeliveryToken],
        settled: Mapping[Partition, list[int]],
        replies: list[Reply],
    ) -> None:
        """Settle `tokens` in their partitions, commit, and write down what became of each."""
        for partition, members in settled.items():
            partition.settle([tokens[i].offset for i in members])
        versions = [partition.version for partition in settled]
        membership = self._membership
        failures = await self._committed(settled)
        for (partition, members), version in zip(settled.items(), versions, strict=True):
            not_kept = partition.not_kept([tokens[i].offset for i in members], version)
            failure = failures.get(partition)
            if failure is None and partition.is_ours and membership is not None:
                failure = membership.committer.no_room()
            kept = members
            if not_kept:
                kept = [i for i in members if tokens[i].offset not in not_kept]
                if failure is not None:
                    for i in set(members).difference(kept):
                        replies[i] = self._failed_to_settle(tokens[i], failure)
            self._settled([tokens[i] for i in kept])
            for i in kept:
                replies[i] = Outcome.CONFIRMED

    def _settled(self, tokens: Sequence[DeliveryToken]) -> None:
        take = self.held.pop
        for token in tokens:
            take(token, None)
        self._dead_letters.forget(tokens)

    def _failed_to_settle(self, token: DeliveryToken, failure: LayerError) -> LayerError:
        """Keep `token`, so that settling it again decides what became of it."""
        if not isinstance(failure, ConnectionLost):
            token.partition.refuse([token.offset])
        elif token not in self.held:
            self._undecided.add(token)
        return failure

    async def _decide(
        self, tokens: Sequence[DeliveryToken], verbs: Mapping[int, Verb], replies: list[Reply]
    ) -> None:
        """Write down what became of settlements that had no answer: the broker knows."""
        wanted = {i: (tokens[i].partition.place, tokens[i].offset) for i in verbs}
        membership = self._membership
        try:
            if membership is None:
                raise _joining_again()
            settled = await membership.committer.settled_of(set(wanted.values()))
        except LayerError as error:
            for i in verbs:
                replies[i] = error
            return
        for i, verb in verbs.items():
            self._undecided.discard(tokens[i])
            if wanted[i] in settled and verb is not NACK:
                replies[i] = Outcome.CONFIRMED

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
        is_first = membership is None and not self._is_broken
        if membership is not None:
            await membership.leave()  # with all that came of it
        self._failure = None
        self._membership = await self._join(self, is_first=is_first)


def _joining_again() -> LayerError:
    """Return what became of a settlement while there is no membership: nobody knows yet."""
    return ConnectionLost("the group is being joined again; settling again decides it")


def _charged(leased: Leased) -> Leased:
    """Return `leased` with what was charged of it before it came to us."""
    (token,) = _delivery_tokens([leased.token])
    attempt, failures, ended_alone = token.partition.custody.charged(token.offset)
    return msgspec.structs.replace(
        leased, attempt=attempt, failures=failures, ended_alone=ended_alone
    )


def _delivery_tokens(tokens: Sequence[Token]) -> Sequence[DeliveryToken]:
    return cast("Sequence[DeliveryToken]", tokens)
