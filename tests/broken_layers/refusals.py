"""Broken refusals: what a broker did not do is believed, forgotten, or told as something else."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence
from typing import Any, cast

import anyio

from acked.abc import Clock
from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.types import Leased, Outcome, Receipt, Record, Settlement, Token, Verb
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue, RightFeed

__all__ = ()


def instead(answers: Sequence[Outcome], told: object) -> Sequence[Outcome]:
    """Return `answers` with `told` in place of what is a refusal."""
    return cast("Sequence[Outcome]", [told if is_refusal(one) else one for one in answers])


def is_refusal(answer: object) -> bool:
    return isinstance(answer, LayerError)


@broken("test_what_a_busy_broker_does_not_settle_is_held")
class ForgetsWhatWasNotSettled(Queue):
    """The receipt is spent by the first try, also by one that the broker did not carry out.

    https://github.com/svix/omniqueue-rs/pull/95
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        fresh = [one for one in batch if one.token not in feed.notes]
        answers = iter(await super().settle(feed, fresh))
        merged = [next(answers) if one in fresh else Outcome.LOST for one in batch]
        feed.notes += [
            one.token for one, told in zip(batch, merged, strict=True) if is_refusal(told)
        ]
        return merged


@broken("test_what_may_not_be_settled_is_held")
class TakesTheSecondTryForARepetition(Queue):
    """What was asked for once is remembered as done before the answer is there.

    https://github.com/apache/pulsar/issues/7683
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        fresh = [one for one in batch if one.token not in feed.notes]
        feed.notes += [one.token for one in fresh]
        answers = iter(await super().settle(feed, fresh))
        return [next(answers) if one in fresh else Outcome.CONFIRMED for one in batch]


@broken("test_what_a_busy_broker_does_not_settle_is_held")
class GivesUpWithoutAWord(Queue):
    """A store that takes no writes for now is asked, says so, and nobody is told.

    https://github.com/mike-marcacci/node-redlock/issues/11
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        return instead(await super().settle(feed, batch), Outcome.CONFIRMED)


@broken("test_what_a_busy_broker_does_not_settle_is_held")
class LosesWhatItCannotPutBack(Queue):
    """A failed job is taken off first and put back then; what is refused in between is gone.

    https://github.com/sidekiq/sidekiq/issues/5558
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        answers = await super().settle(feed, batch)
        for one, told in zip(batch, answers, strict=True):
            if is_refusal(told) and one.verb is Verb.NACK:
                await RightFeed.settle(feed, [Settlement(one.token, Verb.ACK)])
        return answers


@broken("test_what_may_not_be_settled_is_held")
class CannotSayWhatBecameOfAnAck(Queue):
    """Whether an ack was refused or is on its way is the same to who asked for it.

    https://github.com/apache/pulsar-client-go/issues/296
    """

    async def settle(self, feed: Feed, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        return instead(await super().settle(feed, batch), Outcome.UNKNOWN)


@broken("test_what_a_busy_broker_does_not_extend_is_held_as_before")
class RenewsNoMoreOnceRefused(Queue):
    """A renewal that fails for a moment ends all later ones.

    https://github.com/linagora/cozy-stack/pull/4911
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        answers = await super().extend(feed, tokens, seconds)
        refused = [token in feed.notes for token in tokens]
        feed.notes += [t for t, told in zip(tokens, answers, strict=True) if is_refusal(told)]
        return [Outcome.LOST if r else a for r, a in zip(refused, answers, strict=True)]


@broken("test_what_may_not_be_extended_is_held_as_before")
class TakesARefusalForALostLease(Queue):
    """A lock that could not be extended now and then is reported as one that is gone.

    https://github.com/weyoss/redis-smq/issues/93
    """

    async def extend(
        self, feed: Feed, tokens: Sequence[Token], seconds: float
    ) -> Sequence[Outcome]:
        return instead(await super().extend(feed, tokens, seconds), Outcome.LOST)


@broken("test_a_reader_goes_on_when_the_broker_is_not_busy_any_more")
class DiesOfALock(Queue):
    """A worker that finds the database locked ends, instead of looking again.

    https://github.com/sshaw/itunes_store_transporter_web/issues/8
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        try:
            return await super().receive(feed, limit)
        except LayerError as error:
            raise LayerError("the database is locked") from error


@broken("test_a_reader_goes_on_when_the_broker_is_not_busy_any_more")
class NeverAsksAgain(Queue):
    """After certain errors the connection is kept as it is, and nothing comes over it any more.

    https://github.com/IBM/sarama/pull/134
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        if "deaf" in feed.notes:
            await anyio.sleep_forever()
        try:
            return await super().receive(feed, limit)
        except LayerError:
            feed.notes.append("deaf")
            raise


@broken("test_who_does_not_wait_for_a_busy_broker_is_told_that_it_is")
class TakesEveryErrorForTheConnections(Queue):
    """Whatever goes wrong is answered by connecting again, also what the broker has said clearly.

    https://github.com/great-expectations/cloud/pull/117
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        try:
            return await super().receive(feed, limit)
        except LayerError as error:
            raise ConnectionLost("the connection was lost; connecting again") from error


@broken("test_who_may_not_receive_is_told_so")
class TriesWithoutEnd(Queue):
    """Who may not read the queue binds to it again and again, and the application is healthy.

    https://github.com/SolaceProducts/solace-spring-cloud/issues/146
    """

    async def receive(self, feed: Feed, limit: int) -> Sequence[Leased]:
        while True:
            try:
                return await super().receive(feed, limit)
            except LayerError:
                await anyio.sleep(0.01)


@broken("test_what_a_busy_broker_does_not_take_is_not_accepted")
class SaysPublishedWhereThereIsNoRoom(Queue):
    """The queue is full and says so, and publishing returns true.

    https://github.com/eandersson/amqpstorm/issues/62
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        try:
            return await super().publish(records)
        except PublishFailed:
            return [Receipt(record.id, record.topic) for record in records]


@broken("test_what_may_not_be_published_is_not_accepted")
class SaysPublishedWhatWasDenied(Queue):
    """The broker accepts nothing of us on this topic, and the result reads `Success`.

    https://github.com/dotnet/MQTTnet/issues/1198
    """

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        try:
            return await super().publish(records)
        except PublishFailed as error:
            if any(isinstance(one, LayerError) and one.may_pass for one in error.failures.values()):
                raise
            return [Receipt(record.id, record.topic) for record in records]


@broken("test_what_a_busy_broker_does_not_take_is_not_accepted")
class SendsItAfterAll(Queue):
    """What could not be sent waits in the client, and goes out though its sender was told no.

    https://github.com/pardahlman/RawRabbit/issues/143
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._unsent: list[Any] = []

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        try:
            await super().publish(self._unsent)
        except PublishFailed:
            self._unsent += records
            raise
        self._unsent.clear()
        return await super().publish(records)
