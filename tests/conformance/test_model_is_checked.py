"""The checker is checked: bugs planted in the engine and in the memory queue, each found by programs."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from acked._core.ack import settler
from acked._core.ack.fetcher import Fetcher
from acked._core.ack.in_flight import InFlight, InFlightTracker, LeaseSpan
from acked._core.ack.policy import SettlementPolicy
from acked._core.ack.settler import Settler
from acked._core.notify import Notify
from acked._machines.settlement import BEGIN, State, Step
from acked.conformance.harness import VirtualHarness
from acked.conformance.laws.modelled import try_programs
from acked.conformance.programs import ProgramFailure
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.memory_queue._broker import Broker
from acked.layers.memory_queue._feed import MemoryQueueFeed
from acked.layers.memory_queue._group import GroupQueue, StoredTopic
from acked.types import Outcome, Settlement, Verb

pytestmark = pytest.mark.anyio

Plant = Callable[[pytest.MonkeyPatch], None]
Feed = MemoryQueueFeed
QUICK = 5
"""With these programs each bug is found early; with others it takes some hundreds at most."""


def lost_wake_up_in_the_subscription(patch: pytest.MonkeyPatch) -> None:
    def take(self: Fetcher, batch) -> None:
        span = LeaseSpan(self._clock.time(), self._clock.time() + self._lease)
        self.buffer.extend(self._accept(self._tracker.add(batch, span)))

    patch.setattr(Fetcher, "_take", take)


def lost_wake_up_when_there_is_room_again(patch: pytest.MonkeyPatch) -> None:
    def waking_nobody(close: Callable[..., object]) -> Callable[..., object]:
        def closing(self: InFlightTracker, *args: object) -> object:
            freed, self.freed = self.freed, Notify()
            try:
                return close(self, *args)
            finally:
                self.freed = freed

        return closing

    async def wait_for_more(self: Fetcher, count: int, wanted: int) -> None:
        self._demand += wanted
        if not self._tracker.open:  # else what is settled makes room, and would wake the fetcher
            self._tracker.freed.set()
        try:
            await (self.arrived if count == 1 else self._gathered).wait()
        finally:
            self._demand -= wanted

    patch.setattr(Fetcher, "wait_for_more", wait_for_more)
    for name in ("_close", "_are_all_acked"):
        patch.setattr(InFlightTracker, name, waking_nobody(getattr(InFlightTracker, name)))


def lost_wake_up_in_the_layer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StoredTopic, "nudge", lambda self: None)


def attempt_charged_for_a_release(patch: pytest.MonkeyPatch) -> None:
    original = GroupQueue.give_back
    patch.setattr(
        GroupQueue, "give_back", lambda self, lease, *, charge: original(self, lease, charge=True)
    )


def attempt_not_charged_for_a_nack(patch: pytest.MonkeyPatch) -> None:
    original = GroupQueue.give_back
    patch.setattr(
        GroupQueue, "give_back", lambda self, lease, *, charge: original(self, lease, charge=False)
    )


def nothing_is_released_on_leaving(patch: pytest.MonkeyPatch) -> None:
    async def release(self, tokens) -> None: ...

    patch.setattr(Feed, "release", release)


def ack_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = Feed._settle

    def settle(self, lease, settlement: Settlement, now: float) -> Outcome:
        if settlement.verb is Verb.ACK and lease.charged.deliveries == 1:
            return Outcome.CONFIRMED
        return original(self, lease, settlement, now)

    patch.setattr(Feed, "_settle", settle)


def redelivery_after_an_ack(patch: pytest.MonkeyPatch) -> None:
    def settled(self: GroupQueue, lease) -> None:
        self.give_back(lease, charge=True)

    patch.setattr(GroupQueue, "settled", settled)


def an_ack_settles_the_neighbours_too(patch: pytest.MonkeyPatch) -> None:
    original = Feed._settle

    def settle(self, lease, settlement: Settlement, now: float) -> Outcome:
        if settlement.verb is Verb.ACK:  # all up to this one, as with a frontier that is too far
            for token in [one for one in self._held if one < lease.token]:
                other = self._held.pop(token)
                other.queue.settled(other)
        return original(self, lease, settlement, now)

    patch.setattr(Feed, "_settle", settle)


def two_holders_at_once(patch: pytest.MonkeyPatch) -> None:
    original = GroupQueue.lease

    def lease(self: GroupQueue, limit, until, holder, **options) -> Sequence[object]:
        leased = original(self, limit, until, holder, **options)
        first = next(iter(holder.values()), None)
        if leased and self._topic.kept and first is not None and len(holder) == 3:
            self._returned.append((first.kept.number, first.charged.after(alone=False), first.kept))
        return leased

    patch.setattr(GroupQueue, "lease", lease)


def nack_forgets_the_message(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupQueue, "delay", lambda self, lease, due: self.settled(lease))


def nack_ignores_its_delay(patch: pytest.MonkeyPatch) -> None:
    original = GroupQueue.delay
    patch.setattr(GroupQueue, "delay", lambda self, lease, due: original(self, lease, 0.0))


def stale_settlement_takes_effect(patch: pytest.MonkeyPatch) -> None:
    """Whoever had it once may settle it: as a plain XACK does."""
    original = Feed._take

    def take(self: Feed, limit: int):
        for queue in self._queues:
            before = {token: one for _, token, one in queue._ends}
            queue.tick(self._clock.time(), self._held)
            for token, lease in before.items():
                lease.holder.setdefault(token, lease)
        return original(self, limit)

    patch.setattr(Feed, "_take", take)


def an_expired_lease_is_kept_for_ever(patch: pytest.MonkeyPatch) -> None:
    def tick(self: GroupQueue, now: float, own) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            _, number, charged, kept = self._delayed.pop(0)
            self._returned.append((number, charged, kept))

    patch.setattr(GroupQueue, "tick", tick)


def dead_letter_not_published(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Feed, "_published", lambda self, dead_letter: True)


def the_second_group_gets_nothing(patch: pytest.MonkeyPatch) -> None:
    def add(self: StoredTopic, record, now):
        queue, *_ = self.groups.values()
        kept = memory_queue_kept(self, record)
        queue.add(kept)
        return kept

    from acked.layers.memory_queue._group import Kept

    def memory_queue_kept(self: StoredTopic, record):
        number = next(self._numbers)
        kept = self.kept[number] = Kept(number, record, str(number), len(self.groups))
        return kept

    patch.setattr(StoredTopic, "add", add)


def accepted_and_dropped(patch: pytest.MonkeyPatch) -> None:
    original = Broker.publish

    def publish(self: Broker, record, *more):
        kept = original(self, record, *more)
        if kept is not None and kept.number % 4 == 0:
            for queue in self.topic(record.topic).groups.values():
                queue._fresh.pop()
        return kept

    patch.setattr(Broker, "publish", publish)


def the_buffer_is_lost_on_leaving(patch: pytest.MonkeyPatch) -> None:
    original = SettlementPolicy.stop_receiving

    async def stop_receiving(self: SettlementPolicy) -> None:
        unseen = list(self.fetcher.buffer)
        self.fetcher.buffer.clear()
        if unseen:
            await self._feed.settle([Settlement(one.token, Verb.ACK) for one in unseen])
        self._tracker.give_back(unseen, seen=False)
        await original(self)

    patch.setattr(SettlementPolicy, "stop_receiving", stop_receiving)


def an_ack_is_believed_before_it_was_sent(patch: pytest.MonkeyPatch) -> None:
    """And it is never sent."""

    def ack(self: Settler, entry: InFlight) -> None:
        if entry.state is State.HELD:
            self._tracker._close([entry], State.ACKED)

    patch.setattr(Settler, "ack", ack)


def the_window_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InFlightTracker, "free_slots", lambda _: 1000)


def a_contradiction_is_swallowed(patch: pytest.MonkeyPatch) -> None:
    table = {verb: dict(row) for verb, row in BEGIN.items()}
    table[Verb.NACK][State.ACKED] = (State.ACKED, Step.NOTHING)
    patch.setattr("acked._machines.settlement.BEGIN", table)
    assert settler.begin(State.ACKED, Verb.NACK) == (State.ACKED, Step.NOTHING)


PLANTS: list[Plant] = [
    lost_wake_up_in_the_subscription,
    lost_wake_up_when_there_is_room_again,
    lost_wake_up_in_the_layer,
    attempt_charged_for_a_release,
    attempt_not_charged_for_a_nack,
    nothing_is_released_on_leaving,
    ack_forgotten,
    redelivery_after_an_ack,
    an_ack_settles_the_neighbours_too,
    two_holders_at_once,
    nack_forgets_the_message,
    nack_ignores_its_delay,
    stale_settlement_takes_effect,
    an_expired_lease_is_kept_for_ever,
    dead_letter_not_published,
    the_second_group_gets_nothing,
    accepted_and_dropped,
    the_buffer_is_lost_on_leaving,
    an_ack_is_believed_before_it_was_sent,
    the_window_is_not_kept,
    a_contradiction_is_swallowed,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
async def test_programs_find(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    harness = VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))
    with pytest.raises(ProgramFailure) as found:
        await try_programs(harness, 1000, seconds=250.0, shrink=False, seed=QUICK)
    assert "await run_program(harness, [" in str(found.value)
    # Found for what it does, and not because it fits the code it is planted in no more.
    assert [
        one for one in reasons(found.value) if isinstance(one, (TypeError, AttributeError))
    ] == []


def reasons(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for one in (error.__cause__, error.__context__, *members):
            yield from reasons(one)
