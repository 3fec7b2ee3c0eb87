"""Publishes on their way to the layer: those that wait at the same time go in one request.

Rules, where the layer says that one server takes all (`coalesced_publish`):

1. One request is on its way; whatever is published meanwhile goes with the next one, in the order
   in which it was asked for. So who publishes alone sends at once, in its own task. Nobody waits
   for one that is late: after `PATIENCE` the next goes beside it, and has the layer's whole time.
2. Each publisher is told what became of its own records. A request that was refused as a whole,
   with nothing accepted, is made again for each publisher alone: nobody fails for a neighbour.
3. Cancelling a publisher that waits takes its records out; once they are on their way they are
   whole or absent, as ever, and its neighbours' are not touched.

What several publishers share runs in a task of asyncio's, which no publisher's cancellation
reaches; trio has none that would not belong to somebody, so there everybody sends alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from acked._core.notify import on_asyncio
from acked.errors import Accepted, AckedError, LayerError, PublishFailed
from acked.types import Receipt, Record

__all__ = ("Publisher",)

MOST_RECORDS: Final = 1000
MOST_BYTES: Final = 1 << 20
"""Of the bodies in a request that several share. What is larger goes at once, beside it: nobody
waits for that."""
PATIENCE: Final = 0.1
"""Seconds for which a request may keep the next one waiting."""

_Receipts: TypeAlias = Sequence[Receipt] | None


class _Unsent(NamedTuple):
    """What one publisher wants to be sent, and where it waits for the answer."""

    records: Sequence[Record]
    answer: "asyncio.Future[_Receipts]"

    def fail(self, why: str, cause: BaseException | None, *, indeterminate: bool) -> None:
        """Tell that nobody can say more; `indeterminate`: it may have been accepted."""
        failure = LayerError(why)
        failures = dict.fromkeys(range(len(self.records)), failure)
        failed = PublishFailed(why, failures, indeterminate=indeterminate)
        failed.__cause__ = cause
        self.tell(failed)

    def tell(self, answer: "_Receipts | AckedError") -> None:
        """Let the publisher go on, unless it was cancelled."""
        if self.answer.done():
            return
        if isinstance(answer, AckedError):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Publisher:
    """Sends records by `publish`, the layer's, several publishers' in one request."""

    def __init__(self, publish: Callable[[Sequence[Record]], Awaitable[_Receipts]]) -> None:
        self._publish = publish
        self._waiting: deque[_Unsent] = deque()
        self._is_busy = False
        """Whether somebody alone has a request on its way."""
        self._ended: asyncio.Future[None] | None = None
        """Done when that one has ended; None while nobody waits for it."""
        self._running: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def send(self, records: Sequence[Record]) -> _Receipts:
        """Do what the layer's `publish` does, for `records` alone."""
        if _is_large(records):
            return await self._publish(records)
        if (self._is_busy or self._running is not None) and on_asyncio():
            return await self._answer_of(records)
        self._is_busy = True
        try:
            return await self._publish(records)
        finally:
            self._is_busy = False
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)

    async def aclose(self) -> None:
        """Send nothing more; who waits is told so."""
        if self._running is not None:
            await _stop([self._running])
        if self._requests:
            await _stop([*self._requests])

    def _answer_of(self, records: Sequence[Record]) -> "asyncio.Future[_Receipts]":
        loop = asyncio.get_running_loop()
        one = _Unsent(records, loop.create_future())
        self._waiting.append(one)
        if self._running is None:
            self._ended = loop.create_future()
            self._running = loop.create_task(self._run(self._ended))
        return one.answer

    async def _run(self, ahead: "asyncio.Future[None]") -> None:
        """Send what waits, one request after the other, until nothing does."""
        try:
            await asyncio.wait([ahead], timeout=PATIENCE)
            while True:
                # Who was answered just now may publish the next at once: a turn for them, or
                # requests of one and of all the others would alternate for ever.
                await asyncio.sleep(0)
                taken = self._take()
                if not taken:
                    return
                request = asyncio.get_running_loop().create_task(self._send(taken))
                self._requests.add(request)
                request.add_done_callback(self._requests.discard)
                await asyncio.wait([request], timeout=PATIENCE)
        finally:
            self._running = self._ended = None
            self._is_busy = False  # else it is late: nobody waits for it any more
            while self._waiting:
                why = "the channel was closed before this was sent"
                self._waiting.popleft().fail(why, None, indeterminate=False)

    def _take(self) -> list[_Unsent]:
        taken: list[_Unsent] = []
        count = size = 0
        while self._waiting:
            records, answer = one = self._waiting[0]
            count += len(records)
            size += sum(len(record.body) for record in records)
            if taken and (count > MOST_RECORDS or size > MOST_BYTES):
                break
            self._waiting.popleft()
            if not answer.done():  # else cancelled
                taken.append(one)
        return taken

    async def _send(self, taken: Sequence[_Unsent]) -> None:
        """Send what `taken` want in one request, and answer each."""
        try:
            receipts = await self._publish([record for one in taken for record in one.records])
        except PublishFailed as error:
            if len(taken) > 1 and _is_of_all(error, sum(len(one.records) for one in taken)):
                await self._send_each(taken)
            else:
                _tell_parts(taken, error)
        except AckedError as error:  # nothing was sent
            if len(taken) > 1:
                await self._send_each(taken)
            else:
                taken[0].tell(error)
        except BaseException as error:
            why = f"the request that this was in ended by {type(error).__name__}"
            for one in taken:
                one.fail(why, error, indeterminate=True)
            if not isinstance(error, Exception):
                raise
        else:
            start = 0
            for one in taken:
                end = start + len(one.records)
                one.tell(None if receipts is None else receipts[start:end])
                start = end

    async def _send_each(self, taken: Sequence[_Unsent]) -> None:
        for number, one in enumerate(taken):
            try:
                await self._send([one])
            except BaseException:
                for other in taken[number + 1 :]:
                    other.fail("the channel was closed", None, indeterminate=False)
                raise


async def _stop(tasks: Sequence["asyncio.Task[None]"]) -> None:
    await asyncio.sleep(0)  # one that has not begun would answer nobody
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _is_large(records: Sequence[Record]) -> bool:
    return len(records) > MOST_RECORDS or sum(len(one.body) for one in records) > MOST_BYTES


def _is_of_all(error: PublishFailed, count: int) -> bool:
    """Say whether the layer refused a request as a whole, as it may do because of one member."""
    failures = list(error.failures.values())
    first = failures[0]
    return (
        not error.indeterminate
        and len(failures) == count
        and all(one is first for one in failures)
        and not (isinstance(first, LayerError) and first.may_pass)
    )


def _tell_parts(taken: Sequence[_Unsent], error: PublishFailed) -> None:
    """Tell each of `taken` what became of its own part of a request."""
    start = 0
    for one in taken:
        places = range(start, start + len(one.records))
        start = places.stop
        failures = {i - places.start: error.failures[i] for i in places if i in error.failures}
        receipts = {i - places.start: error.receipts[i] for i in places if i in error.receipts}
        if not failures:
            kept = [
                receipts.get(i) or Receipt(record.id, record.topic)
                for i, record in enumerate(one.records)
            ]
            one.tell(cast("list[Receipt]", kept))
        elif len(taken) == 1:
            one.tell(error)
        else:
            one.tell(_part_of(error, failures, receipts, len(places)))


def _part_of(
    error: PublishFailed,
    failures: dict[int, Exception],
    receipts: dict[int, Accepted],
    count: int,
) -> PublishFailed:
    words = (
        f"{len(failures)} of {count} record(s) were not accepted: {next(iter(failures.values()))}"
    )
    if error.indeterminate:
        words += "; those that were sent may have been accepted all the same"
    part = PublishFailed(words, failures, indeterminate=error.indeterminate, receipts=receipts)
    part.__cause__ = error.__cause__
    return part
