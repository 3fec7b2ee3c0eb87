"""From what a handler said of a message to its settlement. Nothing here raises an `Exception`."""

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, cast

import anyio
import msgspec

from acked._core.ack.batch import Batch, together
from acked._core.ack.delivery import Delivery, entry_of, nack_unless_committed
from acked._core.bounds import MAX_ID
from acked._core.options import Redelivery
from acked._core.worker.answers import HandlerVerdict, Publish, Reject, Release, Retry, options_of
from acked._core.worker.options import WorkerSettings
from acked._machines.settlement import State
from acked.errors import AckedError, ConfigurationError, DecodeError
from acked.types import Capabilities

__all__ = ("AnswerSettler",)

logger = logging.getLogger("acked.worker")


class AnswerSettler:
    """Publishes, acks, nacks, rejects, gives back, as the handler's answer says."""

    def __init__(
        self,
        publish: Callable[..., Awaitable[object]],
        capabilities: Capabilities,
        settings: WorkerSettings,
        redelivery: Redelivery,
        group: str,
    ) -> None:
        self._publish = publish
        self._capabilities = capabilities
        self._settings = settings
        self._redelivery = redelivery
        self._group = group

    async def one(
        self, delivery: Delivery[Any], answer: object, *, is_ordered: bool = False
    ) -> float | None:
        """Settle `delivery`, unless the handler has; return the seconds after which to try it here.

        That is None for what is done with here. What is ordered is tried again here, so that
        nothing of its key can come before it; so is what the layer cannot delay.
        """
        if entry_of(delivery).state is not State.HELD:
            self._settled_before(delivery, answer)
            return None
        try:
            answer = await self._published(delivery, answer)
            if answer is None:
                await delivery.ack()
            elif isinstance(answer, Reject):
                await delivery.reject(answer.reason)
            elif isinstance(answer, Release):
                await self._release(delivery)
            else:
                return await self._failed(delivery, answer, is_ordered=is_ordered)
        except AckedError as error:
            _not_settled(error, 1)
        return None

    async def several(self, batch: Batch[Any], answer: object) -> None:
        """Settle the members of `batch`: all by one answer, or each by its own."""
        answers = _answers(answer, len(batch))
        done = [
            delivery
            for delivery, one in zip(batch, answers, strict=True)
            if one is None and entry_of(delivery).state is State.HELD
        ]
        try:
            if done:
                await together(done).ack()
        except ExceptionGroup as errors:
            _not_settled(errors.exceptions[0], len(errors.exceptions))
        async with anyio.create_task_group() as tasks:  # they go in few requests
            for delivery, one in zip(batch, answers, strict=True):
                if one is not None:
                    tasks.start_soon(self._member, delivery, one)

    async def give_back(self, batch: Batch[Any]) -> None:
        """Release `batch`; where the layer cannot, leave it to the end of the subscription."""
        try:
            if self._capabilities.release:
                await batch.release()
        except AckedError as error:
            _not_settled(error, len(batch))

    async def _member(self, delivery: Delivery[Any], answer: object) -> None:
        delay = await self.one(delivery, answer)
        if delay is not None:  # nobody waits for one of a batch: it comes again at once
            try:
                await delivery.nack()
            except AckedError as error:
                _not_settled(error, 1)

    async def _published(self, delivery: Delivery[Any], answer: object) -> object:
        """Publish what is in `answer`; return None then, or what else it is."""
        if answer is None or isinstance(answer, Exception):
            return answer
        try:
            messages = list(_messages(answer))
            for number, message in enumerate(messages):
                options = options_of(message, else_id=self._id_for(delivery, number))
                await self._publish(message.topic, message.body, **options)
        except Exception as error:  # noqa: BLE001 - what cannot be published has failed
            return error
        return None

    def _id_for(self, delivery: Delivery[Any], number: int) -> str | None:
        chosen = "/".join((delivery.id, self._group, str(number)))
        return chosen if len(chosen) <= MAX_ID else None

    async def _failed(
        self, delivery: Delivery[Any], answer: object, *, is_ordered: bool
    ) -> float | None:
        assert isinstance(answer, Exception)  # noqa: S101 - all else was told apart before
        failure = _failure_of(answer)
        attempt, entry = delivery.attempt, entry_of(delivery)
        # Its own failures count, and no attempt that was charged for what ended beside it.
        before = entry.leased.failures
        failures = attempt if before is None else before + 1
        _log_failure(delivery, answer, failure)
        most = self._redelivery.max_deliveries
        if most is not None and failures >= most:
            await delivery.reject(failure)
            return None
        delay = answer.after if isinstance(answer, Retry) else None
        if delay is None:
            delay = self._delay(failure, attempt)
        if is_ordered or (delay and not self._capabilities.nack_delay):
            # What others did makes it no more deliveries than it may have.
            again = attempt + 1 if most is None else min(attempt + 1, most)
            entry.leased = msgspec.structs.replace(entry.leased, attempt=again, failures=failures)
            return delay
        await delivery.nack(delay=delay)
        return None

    def _settled_before(self, delivery: Delivery[Any], answer: object) -> None:
        """Tell what a handler raised that had settled `delivery`; its transaction may be undone."""
        if isinstance(answer, Exception):
            failure = _failure_of(answer)
            _log_failure(delivery, answer, failure)
            nack_unless_committed(delivery, self._delay(failure, delivery.attempt))

    def _delay(self, failure: BaseException, attempt: int) -> float:
        kinds = (kind for kind in type(failure).__mro__ if kind in self._settings.retry)
        kind = next(kinds, None)
        backoff = self._redelivery.backoff if kind is None else self._settings.retry[kind]
        return backoff.delay(attempt, random.random())  # noqa: S311 - no secret

    async def _release(self, delivery: Delivery[Any]) -> None:
        if self._capabilities.release:
            await delivery.release()
        else:
            await delivery.nack()


def _answers(answer: object, count: int) -> Sequence[object]:
    """Return an answer for each of `count` members."""
    if answer is None or isinstance(answer, Exception):
        return [answer] * count
    if isinstance(answer, list | tuple):
        answers = cast("Sequence[object]", answer)
        if len(answers) == count:
            return answers
    kind = type(cast("object", answer)).__name__  # type: ignore[redundant-cast]  # for pyright
    wrong = ConfigurationError(
        "a handler of batches returns None, or a list with an answer for each of its members "
        f"({count}): it returned a {kind}"
    )
    return [wrong] * count


def _messages(answer: object) -> Iterable[Publish[Any]]:
    if isinstance(answer, Publish):
        yield cast("Publish[Any]", answer)  # type: ignore[redundant-cast]  # for pyright
        return
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise _strange(answer)
    for message in cast("Iterable[object]", answer):
        if not isinstance(message, Publish):
            raise _strange(message)
        yield cast("Publish[Any]", message)  # type: ignore[redundant-cast]  # for pyright


def _strange(answer: object) -> ConfigurationError:
    return ConfigurationError(
        f"a handler returns None, Publish(...) or several of them, not a {type(answer).__name__}; "
        "it raises Retry, Reject or Release"
    )


def _failure_of(answer: Exception) -> BaseException:
    """Return what went wrong: of `raise Retry() from error` that is the error."""
    return answer.__cause__ or answer if isinstance(answer, Retry) else answer


def _log_failure(delivery: Delivery[Any], answer: object, failure: BaseException) -> None:
    """Tell of a failure; its words only where no codec wrote them, which might quote the body."""
    asked_for = isinstance(answer, HandlerVerdict) or isinstance(failure, DecodeError)
    logger.warning(
        "message %r of %r failed at attempt %d: %s",
        delivery.id,
        delivery.topic,
        delivery.attempt,
        type(failure).__name__,
        exc_info=None if asked_for else failure,
    )


def _not_settled(error: Exception, count: int) -> None:
    logger.warning("%d message(s) could not be settled, and may come again: %s", count, error)
