"""Broken recovery: what a lost or leaving consumer had is not found, or found where it is not."""

# pyright: reportPrivateUsage=false

import heapq
from collections.abc import Sequence
from typing import Any, cast

from acked.layers.memory_queue._charge import Charge
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._topic_set import NEVER
from acked.types import Leased, Outcome, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, OtherMoments, Queue, RightFeed, remove

__all__ = ()


@broken("test_a_longer_delay_holds_back_no_shorter_one")
class RestoresWhatIsDelayed(Queue):
    """What is delayed for longer than a lease is restored when that is over, and due once more.

    https://github.com/celery/kombu/issues/337
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = super().settle_one(feed, lease, settlement, now)
        if settlement.delay > feed._lease:
            kept = lease.kept
            kept.owed += 1
            again = (now + feed._lease, kept.number, Charge(1, 1), kept)
            heapq.heappush(lease.queue._delayed, again)
        return outcome


@broken("test_what_is_acked_late_in_its_lease_is_not_recovered")
class RecoversWhatIsDone(Queue):
    """A look for abandoned messages finds one that was settled a moment before its lease ended.

    https://github.com/rq/rq/issues/2424
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        kept, queue, near = lease.kept, lease.queue, lease.until - now < feed._lease / 4
        outcome = super().settle_one(feed, lease, settlement, now)
        if near and settlement.verb is Verb.ACK:
            kept.owed += 1
            queue._topic.kept[kept.number] = kept
            heapq.heappush(queue._delayed, (lease.until, kept.number, Charge(1), kept))
        return outcome


class LooksSometimes(OtherMoments):
    """Leases that have ended are looked for only if `looks` says so; nobody is woken by them."""

    def looks(self, feed: Feed, queue: GroupQueue) -> bool:
        """Say whether `feed` looks for them in `queue` now."""
        raise NotImplementedError

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        blind = [queue for queue in feed._queues if not self.looks(feed, queue)]
        hidden = [(queue, queue._ends[:]) for queue in blind]
        for queue in blind:
            queue._ends.clear()
        taken = super().take(feed, limit)
        for queue, ends in hidden:
            queue._ends += ends
            heapq.heapify(queue._ends)
        return taken

    def next_moment(self, queue: GroupQueue) -> float:
        return queue._delayed[0][0] if queue._delayed else NEVER


@broken("test_a_stale_rejection_writes_no_letter")
class RecoversBesideNewsOnly(LooksSometimes):
    """What is abandoned is looked for when something new has come, and not before.

    https://github.com/taskiq-python/taskiq-redis/pull/82
    """

    def looks(self, feed: Feed, queue: GroupQueue) -> bool:
        return bool(queue._fresh)


@broken("test_what_ended_a_delivery_is_kept_with_the_message")
class RecoversOnJoiningOnly(LooksSometimes):
    """Orphans are looked for by a consumer that starts, and by nobody afterwards.

    https://github.com/sidekiq/sidekiq/issues/5540
    """

    def looks(self, feed: Feed, queue: GroupQueue) -> bool:
        first = queue not in feed.notes
        feed.notes.append(queue)
        return first


@broken("test_who_only_passes_by_takes_nothing_of_the_dead_along")
class PrunesTheDeadWithWhatTheyHad(Queue):
    """Whoever leaves prunes dead consumers, and what they had is looked for by their names.

    https://github.com/procrastinate-org/procrastinate/issues/1518
    """

    def leave(self, feed: Feed) -> None:
        now = self._clock.time()
        super().leave(feed)
        for queue in feed._queues:
            for _, _, lease in queue._ends:
                if lease.until <= now and lease.token in lease.holder:
                    lease.until = NEVER


@broken("test_what_comes_back_comes_before_what_was_not_delivered")
class DeletesConsumersWithWhatTheyHad(Queue):
    """A consumer is deleted when it leaves, and what it had not settled is pending nowhere.

    https://github.com/redis/redis/issues/9745
    """

    def leave(self, feed: Feed) -> None:
        for lease in [*feed._held.values()]:
            remove(feed, lease)
        super().leave(feed)


@broken("test_who_waited_for_leases_gets_what_comes_for_a_whole_one")
class LeasesFromWhenItAsked(Queue):
    """The end of a lease is written with the request, however long that waits for a message.

    https://github.com/blehnen/DotNetWorkQueue/issues/294
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        feed.notes[:] = [self._clock.time()]
        return await super().receive(feed, limit)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        for one in taken:
            lease = feed._held[one.token]
            lease.queue.extend(lease, feed.notes[0] + feed._lease)
        return taken


@broken("test_who_waited_for_leases_gets_what_comes_for_a_whole_one")
class ForgetsIdleConsumers(Queue):
    """A consumer that had nothing to do for some leases is taken for dead, and deleted.

    https://github.com/port-labs/ocean/pull/3766
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        since = self._clock.time()

        def wake() -> None:
            if self._clock.time() < since + 3 * feed._lease:
                RightFeed.wake(feed)

        cast("Any", feed).wake = wake
        return await super().receive(feed, limit)


@broken("test_what_ended_a_delivery_is_kept_with_the_message")
class ThinksItHasItStill(Queue):
    """What comes again to the consumer that lost it is dropped by its list of what it has.

    https://github.com/hivemq/hivemq-mqtt-client/issues/434
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        lost = {kept.number for token, kept in feed.notes if token not in feed._held}
        for queue in feed._queues:
            queue.tick(self._clock.time(), feed._held)
            for item in [one for one in queue._returned if one[0] in lost]:
                queue._returned.remove(item)
                heapq.heapify(queue._returned)
        taken = super().take(feed, limit)
        feed.notes += [(one.token, feed._held[one.token].kept) for one in taken]
        return taken

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        tokens = {one.token for one in batch}
        feed.notes[:] = [one for one in feed.notes if one[0] not in tokens]
        return await super().settle(feed, batch)

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        feed.notes[:] = [one for one in feed.notes if one[0] not in tokens]
        await super().release(feed, tokens)
