"""Broken copies: a key is out of order, or holds more than itself."""

# pyright: reportPrivateUsage=false

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from acked.abc import Clock
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._lanes import KeyLanes
from acked.types import Leased, Outcome, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RememberingQueue

__all__ = ()


def free_next(lease: RecordLease) -> None:
    """Let what comes after the message of `lease` come now."""
    key = lease.kept.record.key
    following = lease.queue._lanes.end(key) if key is not None else None
    if following is not None:
        heapq.heappush(lease.queue._returned, following)


def send_to_the_end(lease: RecordLease) -> None:
    """Let the message of `lease` come after all others."""
    topic, kept = lease.queue._topic, lease.kept
    del topic.kept[kept.number]
    kept.number = next(topic._numbers)
    topic.kept[kept.number] = kept


@broken("test_one_of_a_key_is_out_at_a_time_whoever_asks")
class OrdersWithinOneConsumer(Queue):
    """A consumer knows what it holds itself, and nothing of the others: order within a process."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.lanes: defaultdict[tuple[Feed, GroupQueue], KeyLanes[Any]] = defaultdict(KeyLanes)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            queue._lanes = self.lanes[feed, queue]
        return super().take(feed, limit)

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        lease.queue._lanes = self.lanes[feed, lease.queue]
        return super().settle_one(feed, lease, settlement, now)


@broken("test_one_of_a_key_is_out_at_a_time_whoever_asks")
class OrdersWhatHasNoKey(Queue):
    """No key is taken for a key like any other: one message at a time of all that have none."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        is_out = any(lease.kept.record.key is None for lease in feed._held.values())
        taken: list[Leased] = []
        for one in super().take(feed, limit):
            if is_out and one.record.key is None and feed.in_key_order:
                lease = feed._held.pop(one.token)
                lease.queue.give_back(lease, charge=False)
            else:
                taken.append(one)
                is_out = is_out or one.record.key is None
        return taken


@broken("test_a_delay_holds_what_comes_after_it")
class ADelayFreesTheNext(Queue):
    """What waits for its delay is out of the way: in a retry topic, in a set of delayed jobs."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = super().settle_one(feed, lease, settlement, now)
        if settlement.delay:
            free_next(lease)
        return outcome


@broken("test_what_comes_back_keeps_its_place")
class AReleaseGoesToTheEnd(Queue):
    """What is given back is published again: its key goes on without it."""

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token in feed._held:
                send_to_the_end(feed._held[token])
        await super().release(feed, tokens)


@broken("test_what_comes_back_keeps_its_place")
class AnAckThatIsTooLateFreesTheNext(RememberingQueue):
    """The key is freed by the message's name, whoever holds it by now."""

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        outcomes = await super().settle(feed, batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            lease = self.lease_by_now(one.token) if outcome is Outcome.LOST else None
            if lease is not None:
                free_next(lease)
        return outcomes


@broken("test_what_is_given_up_frees_what_comes_after_it")
class WhatIsGivenUpHoldsItsKey(Queue):
    """Only an ack frees a key; what went to the dead letters is owed for ever, as far as it goes."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.REJECT and lease.kept.record.key is not None:
            lease.queue._lanes.begin(lease.kept.record.key)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_poison_key_stops_nobody_else")
class LooksAtThousandAndNoMore(Queue):
    """A claim looks at the first thousand that are owed; if all wait for one key, there is nothing."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        waiting = sum(len(queue._lanes.items()) for queue in feed._queues)
        if waiting < 1000:
            return taken
        for one in taken:
            lease = feed._held.pop(one.token)
            lease.queue.give_back(lease, charge=False)
        return []


@broken("test_hundreds_of_keys_are_each_in_order")
class TheNewestOfAKeyIsFirst(Queue):
    """What waits for its key is a stack."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        for queue in feed._queues:
            for waiting in queue._lanes._waiting.values():
                waiting.sort(reverse=True)
        return taken


@broken("test_the_order_is_of_one_topic_and_of_one_group")
class AKeyIsOneInAllTopics(Queue):
    """What is locked is the key's name, and it is the same name in every topic."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self.lanes: KeyLanes[Any] = KeyLanes()

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            queue._lanes = self.lanes
        return super().take(feed, limit)


@broken("test_handlers_of_a_key_never_overlap_in_two_workers")
class ANackGoesToTheEnd(Queue):
    """A retry is a new message: the next of its key comes before it."""

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK and not settlement.delay:
            send_to_the_end(lease)
        return super().settle_one(feed, lease, settlement, now)
