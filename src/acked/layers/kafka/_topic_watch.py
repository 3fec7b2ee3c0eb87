"""The topics of one membership: found when it begins, and looked at for as long as it lasts.

They may be deleted and made anew, which only their ids tell; and where they are chosen by pattern,
others come. aiokafka's own patterns replace its subscription at any moment, and with it what is
assigned; so it is given names alone, and the group is joined again when there are others.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from acked.errors import LayerError
from acked.layers.kafka._client import partitions_of, within
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._protocols import ConsumerClient, TopicPartition
from acked.layers.kafka._topic_choice import TopicChoice
from acked.layers.kafka._topic_ids import TopicIds

__all__ = ("TopicWatch",)

logger: Final = logging.getLogger("acked.layers.kafka")

LOOK: Final = 1.0
"""Seconds between two looks: a topic that was made anew is read on after about twice that."""
LOOK_AT_ALL: Final = 2.0
"""The same where all topics of the cluster are asked for: there may be thousands."""


class TopicWatch:
    """Knows which topics are to be consumed."""

    def __init__(
        self, consumer: ConsumerClient, options: KafkaOptions, choice: TopicChoice
    ) -> None:
        self.topics: Sequence[str] = () if choice.is_open else choice.names
        """Those to be consumed, as of the last look."""
        self.subscribed: Sequence[str] = ()
        """Those for which the group was joined."""
        self._consumer = consumer
        self._options = options
        self._choice = choice
        self._ids = TopicIds(consumer)
        self._missing: Sequence[str] = ()
        self._looking: asyncio.Task[None] | None = None

    async def begin(self, *, is_first: bool) -> Sequence[TopicPartition]:
        """Return the partitions that there are now; raise `LayerError` where a topic is not there.

        Once they were, it is enough if one is.
        """
        found = await self._partitions(self.topics)
        await self.look()
        if self._choice.is_open:
            if self._ids.there is None:
                raise LayerError(
                    f"Kafka at {self._options.where} does not tell which topics there are, by "
                    "their ids: patterns need brokers from 2.8 on",
                    may_pass=not is_first,
                )
            found = await self._partitions(self.topics)
        missing = [topic for topic, partitions in found.items() if not partitions]
        if missing and (is_first or len(missing) == len(found)):
            raise self.lack_of(missing[0], may_pass=not is_first)
        return [TopicPartition(topic, n) for topic in found for n in sorted(found[topic])]

    def subscribe(self, listener: object) -> None:
        """Let aiokafka join the group for these: for none, too, which its own method refuses."""
        self.subscribed = self.topics
        vars(self._consumer)["_subscription"].subscribe(topics=set(self.topics), listener=listener)
        vars(self._consumer)["_client"].set_topics(set(self.topics))

    def subscribe_instead(self) -> None:
        """Let the next join be for these; until then all that is assigned stays as it is."""
        self.subscribed = self.topics
        subscription = vars(self._consumer)["_subscription"].subscription
        vars(subscription)["_topics"] = frozenset(self.topics)
        vars(self._consumer)["_client"].set_topics(set(self.topics))

    async def look(self) -> Collection[str]:
        """Look who is there; return which were made anew since the last look."""
        anew = await self._ids.made_anew(None if self._choice.is_open else self.topics)
        if self._choice.is_open and self._ids.there is not None:
            self.topics = self._choice.among(self._ids.there)
        return anew

    def start(self, looked: Callable[[Collection[str]], None]) -> None:
        """Go on looking, and tell `looked` each time which were made anew."""
        self._looking = asyncio.create_task(self._go_on_looking(looked))

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    def missing(self) -> Sequence[str]:
        """Return which of those that were named are gone, and log each once."""
        if self._choice.is_open:
            return ()
        missing = [t for t in self.topics if not self._consumer.partitions_for_topic(t)]
        for topic in missing:
            if topic not in self._missing:
                logger.warning("%s; it is read again when it is there", self.lack_of(topic))
        self._missing = missing
        return missing

    def lack_of(self, topic: str, *, may_pass: bool = True) -> LayerError:
        """Return the error for a topic that is not there."""
        words = f"Kafka at {self._options.where} knows no topic {topic!r}: was it deleted?"
        return LayerError(words, may_pass=may_pass)

    async def _partitions(self, topics: Sequence[str]) -> dict[str, Sequence[int]]:
        asked = partitions_of(self._consumer, topics)
        found = await within(self._options.timeout, asked, self._options, "looking for topics")
        return {topic: tuple(partitions) for topic, partitions in found.items()}

    async def _go_on_looking(self, looked: Callable[[Collection[str]], None]) -> None:
        rest = LOOK_AT_ALL if self._choice.is_open else LOOK
        while True:
            await asyncio.sleep(rest)
            looked(await self.look())
