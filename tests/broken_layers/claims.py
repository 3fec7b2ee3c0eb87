"""Broken claims: groups, delays, starts and answers."""

# pyright: reportPrivateUsage=false

import heapq
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._group import RecordLease
from acked.types import Outcome, Settlement, Start, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

DAY: Final = 86_400.0


@broken("test_a_group_that_is_removed_is_owed_nothing_and_no_other_is_touched")
class RemovesMoreThanOneGroup(Queue):
    """Removing one consumer removes those before it, too.

    https://github.com/ExpediaGroup/stream-registry/issues/72
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        for name in topics:
            for other in list(self._broker.topic(name).groups):
                await super().remove_group([name], other)


@broken("test_a_group_that_is_removed_is_owed_nothing_and_no_other_is_touched")
class RemovesAGroupInNameOnly(Queue):
    """A group that was deleted is there all the same, with what it was owed.

    https://github.com/streamnative/kop/issues/1301
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        found = [self._broker.topics[name] for name in topics if name in self._broker.topics]
        if any(topic.has_consumers(group) for topic in found):
            await super().remove_group(topics, group)


@broken("test_a_group_with_a_consumer_is_not_removed")
class RemovesAGroupUnderItsConsumer(Queue):
    """A group is deleted although somebody consumes as it, who waits for ever from then on.

    https://github.com/jlandersen/vscode-kafka/issues/110
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        for name in topics:
            if name in self._broker.topics:
                self._broker.topics[name].groups.pop(group, None)


class KnowsItsLag(Queue):
    """A queue that says how far a group is behind."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        vars(self)["capabilities"] = msgspec.structs.replace(self.capabilities, lag=True)

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            vars(feed)["lag"] = lambda: self.lag_of(feed)
            yield feed

    def lag_of(self, feed: Feed) -> int | None:
        """Return what is published and not fetched."""
        return sum(queue.ready for queue in feed._queues)


@broken("test_the_lag_is_what_was_published_and_not_fetched")
class LagsLessThanNothing(KnowsItsLag):
    """The end is read before what is committed, so a lag is negative.

    https://github.com/danielqsj/kafka_exporter/issues/287
    """

    def lag_of(self, feed: Feed) -> int | None:
        return sum(queue.ready - queue.held for queue in feed._queues)


@broken("test_the_lag_is_what_was_published_and_not_fetched")
class LagStandsStill(KnowsItsLag):
    """The lag is what it was when somebody last fetched: a stuck consumer is never behind.

    https://github.com/seglo/kafka-lag-exporter/issues/36
    """

    def lag_of(self, feed: Feed) -> int | None:
        ready = super().lag_of(feed)
        return 0 if feed._held else ready


@broken("test_an_ack_is_answered_by_the_broker")
class NobodyAnswersAnAck(Queue):
    """The protocol has no answer to an ack; that it left is taken for one.

    https://github.com/apache/pulsar-client-go/issues/628
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        answers = await super().settle(feed, batch)
        return [Outcome.SENT if one is Outcome.CONFIRMED else one for one in answers]


@broken("test_an_ack_that_nobody_answers_is_not_said_to_be_confirmed")
class ConfirmsWhatIsOnlySent(Queue):
    """Acks are sent and forgotten, and the caller is told that they were carried out.

    https://github.com/apache/pulsar/issues/755
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        claimed = msgspec.structs.replace(self.capabilities, confirmed_ack=False)
        vars(self)["capabilities"] = claimed


@broken("test_a_delay_may_be_longer_than_a_lease")
class DelaysByTheLease(Queue):
    """A delay is a visibility timeout, and cannot be longer than that of the queue.

    https://github.com/aws/aws-sdk-net/issues/794
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        shorter = msgspec.structs.replace(settlement, delay=min(settlement.delay, feed._lease))
        return super().settle_one(feed, lease, shorter, now)


@broken("test_a_delay_may_be_longer_than_a_day")
class DelaysModuloADay(Queue):
    """A delay that is too long for its field is delivered at once, or much too soon.

    https://github.com/apache/pulsar/issues/10848
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        wrapped = msgspec.structs.replace(settlement, delay=settlement.delay % DAY)
        return super().settle_one(feed, lease, wrapped, now)


@broken("test_a_delayed_nack_brings_it_not_before_its_delay")
class TakesMillisecondsForSeconds(Queue):
    """A timeout in milliseconds is handed to what wants seconds.

    https://github.com/TomFrost/Squiss/pull/22
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        longer = msgspec.structs.replace(settlement, delay=settlement.delay * 1000)
        return super().settle_one(feed, lease, longer, now)


@broken("test_several_that_are_nacked_at_once_keep_their_order")
class NackedOnesComeInAnyOrder(Queue):
    """What is nacked goes to the end of what was returned, whatever its place was.

    https://github.com/rabbitmq/rabbitmq-server/issues/10499
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        outcome = super().settle_one(feed, lease, settlement, now)
        if settlement.verb is Verb.NACK and not settlement.delay:
            queue = lease.queue
            place = 1 + max((item[0] for item in queue._returned), default=0)
            item = next(one for one in queue._returned if one[2] is lease.kept)
            queue._returned.remove(item)
            queue._returned.append((place, item[1], item[2]))
            heapq.heapify(queue._returned)
        return outcome


@broken("test_a_start_at_or_after_the_last_message_is_taken_at_its_word")
class StartsBehindTheFirst(Queue):
    """What a start names is skipped: the first that comes is the one after it.

    https://github.com/streamnative/pulsar-flink/pull/363
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        later = Start.at(math.nextafter(start.time, math.inf)) if start.kind == "time" else start
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=later)
        async with right as feed:
            yield feed


@broken("test_a_start_at_or_after_the_last_message_is_taken_at_its_word")
class StartsAnewWhereNothingIs(Queue):
    """No message is as late as the start, so there is no position, and none is the beginning.

    https://github.com/Blizzard/node-rdkafka/issues/1109
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        kept = [one for name in topics for one in self._broker.topic(name).kept.values()]
        if start.kind == "time" and all(one.record.timestamp < start.time for one in kept):
            start = Start.EARLIEST
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


class OtherLeases(Queue):
    """Leases have another length, as `length` says."""

    def length(self, lease: float) -> float:
        """Return how long it lasts."""
        raise NotImplementedError

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(
            topics, group, in_flight=in_flight, lease=self.length(lease), start=start
        )
        async with right as feed:
            yield feed


@broken("test_leases_of_any_length_last_so_long")
class LeasesInWholeSeconds(OtherLeases):
    """The end of a lease is kept in whole seconds: half of one is none.

    https://github.com/richlander/nightshift/issues/189
    """

    def length(self, lease: float) -> float:
        return float(int(lease))


@broken("test_leases_of_any_length_last_so_long")
class LeasesAMinuteAtLeast(OtherLeases):
    """The unit of leases is coarser than what is asked for, and it is rounded up.

    https://github.com/melodic-software/claude-code-plugins/issues/1034
    """

    def length(self, lease: float) -> float:
        return 60.0 * math.ceil(lease / 60.0)


@broken("test_the_lease_of_the_holder_decides")
class WhoAsksDecides(Queue):
    """What is idle for longer than the one who asks would take is abandoned.

    https://github.com/taskiq-python/taskiq-redis/issues/101
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        for other in self.feeds:
            for held in other._held.values():
                held.queue.extend(held, held.until - other._lease + lease)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed
