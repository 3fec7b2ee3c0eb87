"""A consumer of a memory queue: what it holds, and how it waits."""

from collections.abc import Iterable, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from acked.abc import Clock
from acked.clocks import SystemClock
from acked.layers.memory_queue._broker import Broker
from acked.layers.memory_queue._group import GroupQueue, Holder, RecordLease
from acked.layers.memory_queue._topic_set import NEVER, TopicSet
from acked.types import Leased, Outcome, Record, Reply, Settlement, Token, Verb

__all__ = ("MemoryQueueFeed",)

SYSTEM: Final = SystemClock()


class MemoryQueueFeed:
    """One consumer of a group: what it holds, and how it waits.

    It waits by sleeping until the next moment at which the clock frees something, in a scope that
    `wake` cancels. So a wait needs no task, whatever the clock.
    """

    def __init__(
        self, broker: Broker, clock: Clock, topics: TopicSet[GroupQueue], lease: float
    ) -> None:
        self.until: float = NEVER
        self.in_key_order = False
        """Whether it gets a message only when the earlier ones of its key are settled."""
        self.leased_at = 0.0
        """When the last batch was leased, by the system's clock, whatever the layer's is."""
        self._broker = broker
        self._clock = clock
        self._topics = topics
        self._queues: Sequence[GroupQueue] = topics.queues
        self._lease = lease
        self._held: Holder = {}
        self._nap = anyio.CancelScope()

    def __repr__(self) -> str:
        return f"<feed of {len(self._queues)} topics, {len(self._held)} held>"

    @property
    def held(self) -> Holder:
        """What it holds itself, by token."""
        return self._held

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for at least one message; lease in the step that returns, so cancelling is safe."""
        await anyio.lowlevel.checkpoint()
        try:
            while not (batch := self._take(limit)):
                await self._wait()
        except BaseException:
            self._topics.nudge()  # Race: woken, or sleeping for others too; the next takes over
            raise
        return batch

    def lag(self) -> int:
        """Return what was published and never leased to the group."""
        return sum(queue.lag for queue in self._queues)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Carry out `batch` at once and return one answer for each."""
        now = self._clock.time()
        answers: list[Reply] = []
        leases: list[RecordLease | None] = []
        for settlement in batch:
            lease = self._held.get(settlement.token)
            answers.append(Outcome.LOST if lease is None else self._settle(lease, settlement, now))
            leases.append(lease)
        _nudge_of(leases)
        return answers

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Let the leases of `tokens` end `seconds` from now; LOST where there is none."""
        now = self._clock.time()
        leases = [self._held.get(token) for token in tokens]
        for lease in leases:
            if lease is not None:
                lease.queue.extend(lease, now + seconds)
        _nudge_of(leases)
        return [Outcome.LOST if lease is None else Outcome.CONFIRMED for lease in leases]

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back; their next delivery has the same attempt."""
        leases = [self._held.pop(token, None) for token in tokens]
        for lease in leases:
            if lease is not None:
                lease.queue.give_back(lease, charge=False)
        _nudge_of(leases)

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note that what `token` leases is handled alone, or is not any more."""
        lease = self._held.get(token)
        if lease is None:
            return None
        lease.is_alone = alone
        return token

    def leave(self) -> None:
        """Give back what is held: a consumer that leaves with it has failed to settle it."""
        for lease in self._held.values():
            lease.is_alone = False  # it left in good order
            lease.queue.give_back(lease, charge=True)
        self._held.clear()
        self._nudge()

    def wake(self) -> None:
        """End the wait; called only while this feed is among those `asleep`."""
        self._nap.cancel()

    def _take(self, limit: int) -> list[Leased]:
        """Lease what is ready, in equal shares; whose turn is first goes round.

        A share that a topic cannot fill is shared out among the others.
        """
        now = self._clock.time()
        touched: dict[GroupQueue, None] = {}
        for queue in self._topics.due(now):
            queue.tick(now, self._held)
            touched[queue] = None
        self.leased_at = SYSTEM.time()
        taken: list[Leased] = []
        while (room := limit - len(taken)) and (ready := self._topics.ready(room)):
            share = max(1, room // len(ready))
            for queue in ready:
                taken += queue.lease(
                    share,
                    now + self._lease,
                    self._held,
                    now=now,
                    in_key_order=self.in_key_order,
                )
            touched.update(dict.fromkeys(ready))
        _nudge(touched)
        return taken

    async def _wait(self) -> None:
        self.until = self._topics.next_moment()
        self._topics.asleep[self] = None
        try:
            with anyio.CancelScope() as self._nap:
                if self.until == NEVER:
                    await anyio.sleep_forever()
                await self._clock.sleep_until(self.until)
        finally:
            del self._topics.asleep[self]

    def _nudge(self) -> None:
        _nudge(self._queues)

    def _settle(self, lease: RecordLease, settlement: Settlement, now: float) -> Reply:
        dead_letter = settlement.dead_letter
        if dead_letter is not None and not self._published(dead_letter):
            return self._broker.refusal([dead_letter.topic])
        del self._held[lease.token]
        if settlement.verb is not Verb.NACK:
            lease.queue.settled(lease)
            return Outcome.CONFIRMED
        lease.has_failed = True
        if settlement.delay > 0:
            lease.queue.delay(lease, now + settlement.delay)
        else:
            lease.queue.give_back(lease, charge=True)
        return Outcome.CONFIRMED

    def _published(self, dead_letter: Record) -> bool:
        if self._broker.publish(dead_letter, self._clock.time()) is None:
            return False
        self._broker.topic(dead_letter.topic).nudge()
        return True


def _nudge(queues: Iterable[GroupQueue]) -> None:
    """Wake whom there is a reason to wake, after something was done to `queues`."""
    for queue in queues:
        queue.nudge()


def _nudge_of(leases: Iterable[RecordLease | None]) -> None:
    """Do so for the queues of `leases`."""
    _nudge(dict.fromkeys(lease.queue for lease in leases if lease is not None))
