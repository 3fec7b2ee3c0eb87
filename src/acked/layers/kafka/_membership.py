"""One membership of a group: joined, told of its partitions, left.

Every membership is a consumer of aiokafka of its own, read by a `PartitionReader`, and committed
for by a `Committer`. aiokafka gives up everything at each rebalance; here nothing is given up that
stays ours: what the broker has for a partition afterwards tells whether anybody had it meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from acked.errors import LayerError
from acked.layers.kafka._assignor import Claims, HandOverAssignor
from acked.layers.kafka._client import (
    Rebalances,
    connected,
    coordinator_of,
    end_of,
    make_consumer,
    stopped,
    topic_partition,
    within,
)
from acked.layers.kafka._commit_metadata import MetadataLimit
from acked.layers.kafka._committer import Committer
from acked.layers.kafka._errors import is_not_ours, translated
from acked.layers.kafka._handover import HandOver, Holder, tell_lost
from acked.layers.kafka._options import KafkaOptions
from acked.layers.kafka._partition import Partition, Position
from acked.layers.kafka._protocols import TopicPartition
from acked.layers.kafka._reader import PartitionReader, RecordTaker
from acked.layers.kafka._topic_choice import TopicChoice
from acked.layers.kafka._topic_watch import TopicWatch
from acked.layers.kafka._topics import origins
from acked.types import Start

__all__ = ("Membership", "Owner")

logger: Final = logging.getLogger("acked.layers.kafka")


class Owner(RecordTaker, Holder, Protocol):
    """What is told of records and partitions."""

    @property
    def mark(self) -> int:
        """Return by what it knows what it committed itself."""
        ...

    def lost(self, partition: Partition) -> int:
        """Forget all that came of `partition`; return how much of it was handed out."""
        ...

    def failed(self, error: LayerError) -> None:
        """Note that nothing more will come of this membership."""
        ...


class Membership:
    """Follows the rebalances of a group as one member, until it is left."""

    def __init__(
        self,
        options: KafkaOptions,
        choice: TopicChoice,
        group: str,
        owner: Owner,
        *,
        limit: MetadataLimit,
        instance: str | None,
        on_trimmed: Callable[[int], None],
    ) -> None:
        self._options = options
        self._is_open = choice.is_open
        self._group = group
        self._owner = owner
        self._on_trimmed = on_trimmed
        self._assignor = HandOverAssignor()
        self._consumer = consumer = make_consumer(options, group, self._assignor, instance)
        self._partitions: dict[TopicPartition, Partition] = {}
        self._origins: Mapping[TopicPartition, int] = {}
        self._assigned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watch = TopicWatch(consumer, options, choice)
        self.committer: Final = Committer(consumer, options, group, limit)
        self.reader: Final = PartitionReader(
            *(consumer, options, self._partitions, limit, self.committer),
            owner=owner,
            member=self,
            on_trimmed=self._tell_trimmed,
        )
        self._handover: Final = HandOver(
            *(owner, self.reader, self.committer),
            timeout=options.handover_timeout,
            drop=self._let_go,
        )

    async def join(self, start: Start, *, is_first: bool) -> None:
        """Join, and return when the first partitions are assigned and their positions known.

        `start` counts where the group has never been, and only when it `is_first`: a topic that
        was made anew under us is read from its first record.
        """
        options, consumer = self._options, self._consumer
        await connected(consumer, options)
        try:
            places = await self._watch.begin(is_first=is_first)
            begin_at = start if is_first else Start.EARLIEST
            begin = origins(consumer, places, begin_at, is_open=self._is_open)
            found = await within(options.timeout, begin, options, "looking up offsets")
            told = options.start_offsets
            self._origins = {p: told.get(p, at) if is_first else at for p, at in found.items()}
            self._watch.subscribe(Rebalances(self._revoke, self._assign))
            self.reader.start()
            self._watch.start(self._looked)
            bound = options.timeout + options.session_timeout
            await within(bound, asyncio.shield(self._assigned), options, "joining the group")
        except BaseException:
            await asyncio.shield(self.leave())
            raise

    async def leave(self) -> None:
        """Commit what was settled, leave the group and close; errors are not raised."""
        self._watch.stop()
        self.reader.stop()
        self._handover.stop()
        await self.committer.let_go(list(self._partitions.values()))
        self.committer.close()
        for partition in list(self._partitions.values()):
            self._drop(partition)
        await stopped(self._consumer)
        if self._assigned.done() and not self._assigned.cancelled():
            self._assigned.exception()
        await self.reader.ended()

    def lag(self) -> int | None:
        """Return how many offsets were not read yet; None before the broker told."""
        total = 0
        for place, partition in self._partitions.items():
            end = max(end_of(self._consumer, place) or 0, partition.end)
            if not end and partition.next_offset:
                return None
            total += max(0, end - partition.next_offset)
        return total

    async def replace(self, partition: Partition, offset: int) -> None:
        """Read on at `offset` in a log that is not the one `partition` was of, and commit that.

        Where it cannot be committed now, the next commit says it.
        """
        place, position = partition.place, Position(offset, "")
        successor = Partition(place, position, self._owner.mark, instead_of=partition)
        self._drop(partition)
        self._partitions[place] = successor
        self._handover.replaced(partition, successor)
        self.reader.go_on(successor)
        await self.committer.flush([successor])

    def failed(self, error: Exception, doing: str) -> None:
        """Give up: the owner is told why."""
        failure = translated(error, self._options, doing)
        if not self._assigned.done():
            self._assigned.set_exception(failure)
        self._owner.failed(failure)

    def _looked(self, made_anew: Collection[str]) -> None:
        """Read what was made anew from its first record, and join again for topics that came."""
        self.reader.read_anew(made_anew)
        # Not while partitions are distributed: what we are given may be of topics that go.
        if self._watch.topics != self._watch.subscribed and not self.reader.is_held:
            self._watch.subscribe_instead()
            coordinator_of(self._consumer).request_rejoin()

    def _tell_trimmed(self, place: TopicPartition, count: int) -> None:
        self._on_trimmed(count)
        logger.warning(
            "partition %d of topic %r: up to %d record(s) were deleted before group %r had read "
            "them, by retention or by hand; keep them for longer, or consume faster",
            *(place.partition, place.topic, count, self._group),
        )

    async def _revoke(self) -> None:
        """Commit what was settled so far; what we have may stay ours."""
        self.reader.is_held = True
        self._handover.stop()
        await self.committer.flush(list(self._partitions.values()))
        self.committer.suspend()

    async def _assign(self, assigned: Iterable[TopicPartition]) -> None:
        places = [TopicPartition(*place) for place in assigned]
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._begin(places)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on
            if not is_not_ours(error):  # then the group is joined again, and this called again
                self.failed(error, "looking up offsets")
        else:
            self._look_for_missing(places)

    async def _begin(self, places: Sequence[TopicPartition]) -> None:
        """Go to where the group is in `places`; where it is nowhere yet, commit its beginning."""
        coordinator = coordinator_of(self._consumer)
        generation = coordinator.generation
        anew = await self._watch.look()
        committed = await coordinator.fetch_committed_offsets(list(map(topic_partition, places)))
        known = {
            place: Position(found.offset, found.metadata or "")
            for place in places
            if (found := committed.get(place)) is not None and found.offset >= 0
            if place.topic not in anew  # what is committed there may be of the log before
        }
        self._drop_what_is_not_ours(places, known)
        known |= await self._begin_anew([place for place in places if place not in known])
        if coordinator.generation != generation or self.reader.is_stopped:
            return  # all of this is revoked already, and assigned anew after that
        for place, position in known.items():
            if place not in self._partitions:
                self._partitions[place] = Partition(place, position, self._owner.mark)
            # aiokafka may have read from elsewhere already: that is dropped and read again.
            self.reader.go_on(self._partitions[place])
        self._origins = {}  # what we do not know later was made later: it is read from its first
        self._assignor.claims = Claims(generation, [(topic, n) for topic, n in known])
        self.reader.is_held = False
        self.committer.resume(generation)
        self._handover.begin(self._partitions, self._assignor.gives_up)

    def _drop_what_is_not_ours(
        self, places: Sequence[TopicPartition], known: Mapping[TopicPartition, Position]
    ) -> None:
        """Give up what went to another member, was another's meanwhile, or was made anew."""
        for place, partition in list(self._partitions.items()):
            if place in known and partition.is_at(known[place]):
                continue
            in_hand = self._drop(partition)
            if place in places and place not in known:
                logger.warning(
                    "partition %d of topic %r: what group %r had settled is forgotten: the topic "
                    "was made anew, or somebody deleted it; going on with its oldest record",
                    *(place.partition, place.topic, self._group),
                )
            else:
                tell_lost(self._group, place, in_hand)

    async def _begin_anew(
        self, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        """Return where the group begins in `places`, where it has committed nothing, and commit it.

        Never where it would have begun when we joined, once we are there: a topic may have been
        deleted since then, with the group's offsets, and made anew.
        """
        if not places:
            return {}
        consumer = self._consumer
        first = {place: self._origins[place] for place in places if place in self._origins}
        unknown = [topic_partition(place) for place in places if place not in first]
        if unknown:
            first |= await consumer.beginning_offsets(unknown)
        begun = {place: Position(first[place], "") for place in places}
        await consumer.commit({topic_partition(place): at for place, at in begun.items()})
        return begun

    def _look_for_missing(self, places: Sequence[TopicPartition]) -> None:
        """Say which topics are gone; with nothing left to read, the next receive raises it."""
        missing = self._watch.missing()
        if missing and not places:
            self.failed(self._watch.lack_of(missing[0]), "looking for topics")
            return
        if not self._assigned.done():
            self._assigned.set_result(None)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        """Join again without `partitions`, so that those who wait for them get them."""
        for partition in partitions:
            tell_lost(self._group, partition.place, self._drop(partition))
        claims = self._assignor.claims
        self._assignor.claims = Claims(
            claims.generation, [(topic, n) for topic, n in self._partitions]
        )
        coordinator_of(self._consumer).request_rejoin()

    def _drop(self, partition: Partition) -> int:
        """Forget `partition`; return how much of it was in hand."""
        partition.is_ours = False
        del self._partitions[partition.place]
        return self._owner.lost(partition)
