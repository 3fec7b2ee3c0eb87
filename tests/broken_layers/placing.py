"""Layers that place a message wrongly in time or in its key, as public reports tell; each names its."""

# pyright: reportPrivateUsage=false
# Bugs are planted where bugs are: inside.

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._topic_set import TopicSet
from acked.types import Leased, Outcome, Receipt, Record, Settlement
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Broadcast, Feed, Queue

QUARTER: Final = 900.0
TOO_MANY_SECONDS: Final = 2**31 / 1000
"""More milliseconds than a signed number of 32 bits has."""


@broken("test_equal_bodies_are_each_heard")
class TellsEqualBodiesOnce(Broadcast):
    """Of equal bodies in one transaction one is told, as NOTIFY does.

    https://github.com/lib/pq/issues/823
    """

    async def publish(self, records: Sequence[Record]) -> None:
        """Publish each body of a topic once."""
        told = {(one.topic, one.body): one for one in reversed(records)}
        await super().publish([*reversed(told.values())])


@broken("test_a_publisher_may_say_months")
class DelaysAQuarterAtMost(Queue):
    """A delay that is longer than fifteen minutes is one of fifteen minutes.

    https://github.com/durable-workflow/workflow/pull/294
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with a delay that the broker takes."""
        return await super().publish(
            [replace(one, delay=min(one.delay, QUARTER)) for one in records]
        )


@broken("test_each_of_a_batch_has_its_own_delay")
class DelaysABatchAsItsFirst(Queue):
    """A delay is one of the request: all of a batch have that of the first.

    https://github.com/iron-io/iron_mq_php/issues/71
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with the delay of the first."""
        return await super().publish([replace(one, delay=records[0].delay) for one in records])


@broken("test_each_of_a_batch_has_its_own_delay")
class DelaysNothingInABatch(Queue):
    """What is published as a batch is published without its delays.

    https://github.com/akka/alpakka/issues/3235
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish one as it is, and several without a delay."""
        several = len(records) > 1
        return await super().publish(
            [replace(one, delay=0.0) if several else one for one in records]
        )


@broken("test_each_of_a_batch_has_its_own_delay")
class DelaysWholeSeconds(Queue):
    """A delay has whole seconds: what is left over comes before its time.

    https://github.com/apache/pulsar/issues/10169
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with a delay of whole seconds."""
        return await super().publish([replace(one, delay=float(int(one.delay))) for one in records])


@broken("test_months_are_not_over_at_once")
class ExpiresAtOnceWhatHasMonths(Queue):
    """A time to live of more than twenty-four days is a negative one.

    https://github.com/apereo/cas/pull/3212
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with the time to live that is left of it."""
        over = [one.expires >= TOO_MANY_SECONDS for one in records]
        gone = [
            replace(one, expires=math.ulp(0.0)) if is_over else one
            for one, is_over in zip(records, over, strict=True)
        ]
        return await super().publish(gone)


@broken("test_an_empty_key_is_a_key")
class OrdersNoEmptyKey(Queue):
    """An empty key is no key to who keeps the order of keys.

    https://github.com/SOHU-Co/kafka-node/pull/265
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Lease what has an empty key as if it had none."""
        for queue in feed._queues:
            queue._lanes._out.pop("", None)
            for item in queue._lanes._waiting.pop("", []):
                queue._return(item)
        return super().take(feed, limit)

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Let the lanes know of one more than is out, which they forget."""
        for queue in feed._queues:
            queue._lanes._out[""] += len(batch) + 1
        return await super().settle(feed, batch)


@broken("test_who_reads_other_topics_too_is_woken_for_a_shared_one")
class WakesOneKindOfConsumer(Queue):
    """Of consumers that wait for other sets of topics only those of the first set are woken.

    https://github.com/QueueClassic/queue_classic/pull/188
    """

    def _hidden(self) -> list[tuple[GroupQueue, dict[TopicSet[GroupQueue], None]]]:
        queues = [
            queue for topic in self._broker.topics.values() for queue in topic.groups.values()
        ]
        return [(queue, dict(queue.sets)) for queue in queues if len(queue.sets) > 1]

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish, and wake those of the first set."""
        known = self._hidden()
        for queue, sets in known:
            first = next(iter(sets))
            queue.sets.clear()
            queue.sets[first] = None
        receipts = await super().publish(records)
        for queue, sets in known:
            queue.sets.clear()
            queue.sets.update(sets)
        return receipts


@broken("test_a_priority_outlives_a_backoff_and_a_holder")
class LosesThePriorityAtABackoff(Queue):
    """A retry with a delay comes back behind all that has any priority.

    https://github.com/OptimalBits/bull/issues/881
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Settle, and forget the priority of what is delayed."""
        if settlement.delay > 0:
            lease.kept.ahead = 0
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_priority_outlives_a_backoff_and_a_holder")
class LosesThePriorityOfTheStalled(Queue):
    """What a worker that died had held is rescued to the end of the queue.

    https://github.com/OptimalBits/bull/issues/1925
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Forget the priority of what is overdue."""
        now = self._clock.time()
        for lease in (one for other in self.feeds for one in other._held.values()):
            if lease.until <= now:
                lease.kept.ahead = 0
        return super().take(feed, limit)


@broken("test_each_of_a_batch_has_its_own_priority")
class RanksABatchAsItsFirst(Queue):
    """A priority is one of the request: a brother of `DelaysABatchAsItsFirst`.

    https://github.com/iron-io/iron_mq_php/issues/71
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with the priority of the first."""
        return await super().publish(
            [replace(one, priority=records[0].priority) for one in records]
        )


@broken("test_each_of_a_batch_has_its_own_end")
class EndsABatchAsItsFirst(Queue):
    """An end is one of the request: a brother of `DelaysABatchAsItsFirst`.

    https://github.com/iron-io/iron_mq_php/issues/71
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish with the end of the first."""
        return await super().publish([replace(one, expires=records[0].expires) for one in records])
