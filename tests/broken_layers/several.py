"""Broken for more than one: the first topic, group, consumer or member is right, the others not."""

# pyright: reportPrivateUsage=false

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

from acked.types import Leased, Outcome, Start, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

REMOVING = "test_removing_a_group_takes_all_of_it_and_nothing_else"
LAG = "test_the_lag_is_of_all_topics_and_of_this_group"


@broken("test_each_of_many_topics_is_heard")
class HearsSixteenTopics(Queue):
    """The list of topics that one request takes is cut, and nobody is told."""

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics[:16], group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


@broken("test_each_group_gets_the_same")
class TheFirstGroupGetsTheHeaders(Queue):
    """A record is unpacked for the first who reads it, and the others get what is left of it."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [self._left(feed, one) for one in super().take(feed, limit)]

    def _left(self, feed: Feed, one: Leased) -> Leased:
        queue = feed._held[one.token].queue
        if queue is next(iter(queue._topic.groups.values())):
            return one
        bare = msgspec.structs.replace(one.record, headers={}, key=None)
        return msgspec.structs.replace(one, record=bare)


@broken("test_leases_end_in_each_topic_and_for_each_group")
class RecoversTheFirstTopicOnly(Queue):
    """A look for abandoned messages is for the first of a consumer's topics."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        first = min(feed._queues, key=lambda queue: id(queue._topic))
        for queue in feed._queues:
            if queue is not first:
                queue._ends.clear()
        return super().take(feed, limit)


@broken("test_extending_one_extends_no_other")
class ExtendsAllOfAConsumer(Queue):
    """A heartbeat is of the consumer: whoever extends one extends all that it holds."""

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        replies = await super().extend(feed, tokens, seconds)
        await super().extend(feed, list(feed._held), seconds)
        return replies


@broken("test_each_topic_starts_where_it_was_told")
class StartsTheFirstTopicOnly(Queue):
    """Where to start is said for one topic, and the others are read from the beginning.

    https://github.com/Parsely/pykafka/issues/241
    """

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        for name in topics[1:]:
            self._broker.topic(name).join(group, Start.EARLIEST)
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            yield feed


@broken(REMOVING)
class RemovesItFromEveryTopic(Queue):
    """A group is known by its name, so removing it removes it everywhere.

    https://github.com/birdayz/kaf/issues/271
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        await super().remove_group(topics, group)
        for topic in self._broker.topics.values():
            if not topic.has_consumers(group):
                topic.remove(group)


@broken(REMOVING)
class RemovesAllButWhatIsDelayed(Queue):
    """The timers of a group go on when it was removed, and it comes to life by them.

    https://github.com/apache/rocketmq/issues/6016
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        known = [self._broker.topic(name) for name in topics]
        left = [queue for topic in known if (queue := topic.groups.get(group)) is not None]
        await super().remove_group(topics, group)
        for queue in left:
            queue._fresh.clear()
            queue._returned.clear()
            queue._topic.groups[group] = queue


class TellsAnotherLag(Queue):
    """The lag of a consumer is what `told` says."""

    def told(self, feed: Feed, group: str, topics: Sequence[str]) -> int:
        """Return the lag."""
        raise NotImplementedError

    @asynccontextmanager
    async def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[Feed]:
        right = super().consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with right as feed:
            vars(feed)["lag"] = lambda: self.told(feed, group, topics)
            yield feed


@broken(LAG)
class TheLagOfOneTopic(TellsAnotherLag):
    """The lag is that of the first topic.

    https://github.com/danielqsj/kafka_exporter/issues/226
    """

    def told(self, feed: Feed, group: str, topics: Sequence[str]) -> int:
        return self._broker.topic(topics[0]).groups[group].lag


@broken(LAG)
class TheLagOfAllGroups(TellsAnotherLag):
    """The lag is that of the topic: whoever is behind makes all the others look so.

    https://github.com/braedon/prometheus-kafka-consumer-group-exporter/issues/42
    """

    def told(self, feed: Feed, group: str, topics: Sequence[str]) -> int:
        return sum(
            queue.lag for name in topics for queue in self._broker.topic(name).groups.values()
        )
