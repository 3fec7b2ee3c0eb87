"""Layers that forget, or delay for good, what is late or has waited; each names its public report."""

# pyright: reportPrivateUsage=false
# Bugs are planted where bugs are: inside.

from collections.abc import Sequence
from typing import Final

from acked.abc import Clock
from acked.layers.memory_queue._charge import Charge
from acked.layers.memory_queue._group import GroupQueue, RecordLease
from acked.layers.memory_queue._topic_set import NEVER
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, OtherMoments, Queue

DAY: Final = 86_400.0
IDLE: Final = 60.0
"""Seconds after which a firewall has forgotten a connection that nobody used."""


@broken("test_an_earlier_lease_of_ones_own_settles_nothing")
class LosesALateNack(Queue):
    """A nack that comes after the end of its lease leaves the message with nobody.

    https://github.com/apache/pulsar/issues/6451
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Take it from its holder, and give it to nobody."""
        if settlement.verb is Verb.NACK and lease.until <= now:
            del feed._held[lease.token]
            lease.queue._let_go(lease)
            return Outcome.CONFIRMED
        return super().settle_one(feed, lease, settlement, now)


@broken("test_who_waited_for_leases_gets_what_comes_for_a_whole_one")
class IsNotWokenAfterALongRest(OtherMoments):
    """A firewall forgets the connection that tells of news; who waited long looks much later.

    https://github.com/redpanda-data/connect/pull/1669
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._asleep_since: dict[int, float] = {}

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Publish, and tell those who have not waited for long."""
        deaf: list[GroupQueue] = []
        now = self._clock.time()
        for feed in self.feeds:
            since = self._asleep_since.get(id(feed), NEVER)
            if now - since > IDLE:
                deaf += feed._queues
        sets = [(queue, dict(queue.sets)) for queue in deaf]
        for queue in deaf:
            queue.sets.clear()
        receipts = await super().publish(records)
        for queue, known in sets:
            queue.sets.update(known)
        return receipts

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Note since when nothing came."""
        taken = super().take(feed, limit)
        if taken:
            self._asleep_since.pop(id(feed), None)
        else:
            self._asleep_since.setdefault(id(feed), self._clock.time())
        return taken

    def next_moment(self, queue: GroupQueue) -> float:
        """Look by oneself as a right one does."""
        return GroupQueue.next_moment(queue)


@broken("test_what_was_nacked_comes_although_what_is_new_never_ends")
class ReclaimsOnlyAtRest(Queue):
    """What came back is looked at when there is nothing new, and there always is.

    https://github.com/netboxlabs/diode/pull/500
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Lease what is new, if there is anything."""
        hidden = [(one, one._returned) for one in feed._queues if one._fresh]
        for queue, _ in hidden:
            queue._returned = []
        taken = super().take(feed, limit)
        for queue, returned in hidden:
            queue._returned = sorted([*queue._returned, *returned])
            if queue._returned:
                queue._note_ready()
        return taken


@broken("test_removing_a_group_takes_all_of_it_and_nothing_else")
class RemovesAGroupWithoutItsDelayed(Queue):
    """A group that is made again under its name gets what the old one had delayed.

    https://github.com/rabbitmq/rabbitmq-delayed-message-exchange/issues/220
    """

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget the group but for what waits for a delay."""
        left = {
            name: list(stored.groups[group]._delayed)
            for name in topics
            if (stored := self._broker.topics.get(name)) and group in stored.groups
        }
        await super().remove_group(topics, group)
        self._left = {
            **getattr(self, "_left", {}),
            **{(name, group): one for name, one in left.items()},
        }

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Find what was left behind."""
        left = getattr(self, "_left", {})
        for (name, group), items in list(left.items()):
            stored = self._broker.topics[name]
            queue = stored.groups.get(group)
            if queue in feed._queues and queue is not None:
                del left[name, group]
                for due, number, charged, kept in items:
                    stored.kept[number] = kept
                    kept.owed += 1
                    queue._delayed.append((due, number, charged, kept))
                    queue._note_moment(due)
        return super().take(feed, limit)


@broken("test_what_is_given_up_frees_what_comes_after_it")
class NeverUnlocksAKeyAfterARejection(Queue):
    """A key stays locked when its message was given up, so what waits behind it never comes.

    https://github.com/graphile/worker/issues/254
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Settle, but leave the key of what was rejected locked."""
        key = lease.kept.record.key
        if settlement.verb is Verb.REJECT and key is not None:
            lease.queue._lanes.begin(key)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_longer_delay_holds_back_no_shorter_one")
class DelaysInTheOrderOfArrival(Queue):
    """What is delayed comes after all that was delayed before, however long that waits.

    https://github.com/apache/pulsar/issues/15397
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        """Delay for at least as long as those before."""
        longest = max((due - now for due, *_ in lease.queue._delayed), default=0.0)
        if settlement.verb is Verb.NACK and 0 < settlement.delay < longest:
            settlement = Settlement(settlement.token, Verb.NACK, longest)
        return super().settle_one(feed, lease, settlement, now)


@broken("test_a_delay_outlives_the_channel")
class DelaysAgainWhenNobodyIsLeft(Queue):
    """When the last consumer leaves, what is delayed is found twice afterwards.

    https://github.com/apache/pulsar/pull/14740
    """

    def leave(self, feed: Feed) -> None:
        """Leave, and let what waits for a delay be tracked once more."""
        super().leave(feed)
        for queue in feed._queues:
            if queue.consumers == 1:
                for due, number, charged, kept in list(queue._delayed):
                    kept.owed += 1
                    queue._delayed.append((due, number + 0, charged, kept))


@broken("test_the_lag_is_of_all_topics_and_of_this_group")
class CallsWhatNobodySawRedelivered(Queue):
    """After a restart of the group all that waits counts as delivered, whether it ever was.

    https://github.com/nats-io/nats-streaming-server/issues/66
    """

    def leave(self, feed: Feed) -> None:
        """Charge what was never handed out."""
        super().leave(feed)
        for queue in feed._queues:
            if queue.consumers == 1 and queue._fresh:
                seen = [(kept.number, Charge(1), kept) for kept in queue._fresh]
                queue._fresh.clear()
                queue._returned = sorted([*queue._returned, *seen])


@broken("test_what_is_owed_waits_for_who_comes_back")
class ForgetsAGroupAtRest(Queue):
    """A group that nobody consumed for long begins anew, with what comes next.

    https://github.com/mailgun/kafka-pixy/issues/19
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._left_at: dict[GroupQueue, float] = {}

    def leave(self, feed: Feed) -> None:
        """Note when the last one left."""
        super().leave(feed)
        self._left_at |= dict.fromkeys(feed._queues, self._clock.time())

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Drop what was owed before the rest."""
        now = self._clock.time()
        for queue in feed._queues:
            if now - self._left_at.pop(queue, now) > DAY:
                numbers = {one.number for one in queue._fresh}
                queue.discard(numbers | {one[-1].number for one in queue._returned})
        return super().take(feed, limit)


@broken("test_an_extension_is_never_the_last_one")
class EndsALeaseAfterTwelveHours(Queue):
    """However often it is extended, a lease ends twelve hours after the message was handed out.

    https://github.com/mapbox/ecs-watchbot/pull/275
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._most: dict[Token, float] = {}

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        """Note when each was handed out."""
        taken = super().take(feed, limit)
        self._most |= {one.token: self._clock.time() + DAY / 2 for one in taken}
        return taken

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        """Extend, within twelve hours."""
        replies = await super().extend(feed, tokens, seconds)
        for lease in [feed._held[token] for token in tokens if token in feed._held]:
            lease.queue.extend(lease, min(lease.until, self._most[lease.token]))
        return replies
