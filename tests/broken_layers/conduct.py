"""Broken conduct: who shares nothing, closes badly, or keeps another order than it claims."""

# pyright: reportPrivateUsage=false

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

import anyio
import msgspec

from acked.abc import Clock
from acked.layers.memory_queue._charge import Charge
from acked.layers.memory_queue._group import RecordLease
from acked.types import Leased, Outcome, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

POLL: Final = 6.0
"""Seconds."""


class ClaimsLess(Queue):
    """A queue that claims something else than total order."""

    claims: ClassVar[Mapping[str, Any]] = MappingProxyType({"order": "none"})

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        vars(self)["capabilities"] = msgspec.structs.replace(self.capabilities, **self.claims)
        self.chance = random.Random(1)


@broken("test_consumers_of_equal_speed_share_what_waits")
class TheFirstOneTakesAll(Queue):
    """Whoever came first is asked first, as often as there is something, and the others idle.

    https://github.com/celery/celery/issues/4494
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        others = [one for one in self.feeds if set(one._queues) == set(feed._queues)]
        return super().take(feed, limit) if others[:1] == [feed] or not others else []


@broken("test_a_renewal_does_not_cut_an_extension_short")
class ExtendsByTheLeaseAtMost(Queue):
    """An extension sets the visibility to that of the queue, however long it was to be.

    https://github.com/aws/aws-sdk-js-v3/issues/2983
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return await super().extend(feed, tokens, min(seconds, feed._lease))


@broken("test_closing_gives_back_at_once_and_hands_out_nothing_more")
class HoldsOnUntilItHasLeft(Queue):
    """What a consumer fetched and did not read is free when its last handler has ended.

    https://github.com/nats-io/nats-server/issues/4627
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        feed.notes += tokens

    def leave(self, feed: Feed) -> None:
        for token in feed.notes:
            lease = feed._held.pop(token, None)
            if lease is not None:
                lease.queue.give_back(lease, charge=False)
        super().leave(feed)


@broken("test_what_nobody_sees_is_given_back_before_its_lease_ends")
class KeepsWhatIsGivenBack(Queue):
    """What was given back is another one's when its lease ends, and was delivered once by then.

    https://github.com/nats-io/nats-server/issues/4716
    """

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        return


@broken("test_closing_while_somebody_subscribes_leaves_nobody_waiting")
class PollsUndisturbed(Queue):
    """A poll of several seconds is not interrupted: whoever closes waits for its end.

    https://github.com/aio-libs/aiokafka/issues/819
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        with anyio.move_on_after(POLL, shield=True):
            return await super().receive(feed, limit)
        return await super().receive(feed, limit)


@broken("test_a_stale_token_extends_and_releases_nothing")
class SaysRenewedWhenItHasEnded(Queue):
    """What is asked of a lease that has ended is answered as if it was there.

    https://github.com/dashbitco/broadway/issues/208
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        await super().extend(feed, tokens, seconds)
        return [Outcome.CONFIRMED for _ in tokens]


@broken("test_an_earlier_lease_of_ones_own_settles_nothing")
class SettlesByTheMessage(Queue):
    """An old receipt still works: what matters is which message it was for, and who asks.

    https://github.com/aws/aws-sdk-js/issues/1750
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        feed.notes += [(one.token, feed._held[one.token].kept.number) for one in taken]
        return taken

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        meant = [msgspec.structs.replace(s, token=self.meant(feed, s.token)) for s in batch]
        return await super().settle(feed, meant)

    def meant(self, feed: Feed, token: Token) -> Token:
        """Return the token by which its message is held now."""
        number = dict[Token, int](feed.notes).get(token)
        found = (name for name, held in feed._held.items() if held.kept.number == number)
        return next(found, token)


@broken("test_one_consumer_gets_each_key_in_the_order_of_publishing")
class MixesUpItsKeys(ClaimsLess):
    """Order within a key is claimed, and kept as long as there is little to hand out.

    https://github.com/apache/pulsar/issues/7455
    """

    claims = MappingProxyType({"order": "key"})

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        for queue in feed._queues:
            if len(queue._fresh) > 10:
                self.chance.shuffle(queue._fresh)
        return super().take(feed, limit)


@broken("test_an_acked_message_never_comes_again")
class ComesAgainBehindTheOthers(ClaimsLess):
    """Some of what was acked comes again, behind whatever is there: order is not claimed.

    https://github.com/apache/pulsar/issues/4849
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if (
            settlement.verb is Verb.ACK
            and lease.kept.number % 7 == 3
            and not lease.charged.deliveries
        ):
            lease.kept.owed += 1
            feed.notes.append((lease.queue, lease.kept))
        return super().settle_one(feed, lease, settlement, now)

    def leave(self, feed: Feed) -> None:
        super().leave(feed)
        for queue, kept in feed.notes:
            queue._topic.kept[kept.number] = kept
            queue._returned.append((10**9, Charge(deliveries=1), kept))

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        aside = [(queue, queue._returned) for queue in feed._queues if queue._fresh]
        for queue, _ in aside:
            queue._returned = []
        taken = super().take(feed, limit)
        for queue, returned in aside:
            queue._returned = returned + queue._returned
        return taken


@broken("test_any_program_agrees_with_the_model")
class AcksTheRedeliveredUnasked(Queue):
    """What comes again is taken for a duplicate by a deduplicator that noted it before handling.

    https://github.com/apache/pulsar/issues/7683
    """

    def settle_one(
        self, feed: Feed, lease: RecordLease, settlement: Settlement, now: float
    ) -> Outcome:
        if settlement.verb is Verb.NACK and lease.charged.deliveries:
            settlement = Settlement(settlement.token, Verb.ACK)
        return super().settle_one(feed, lease, settlement, now)
