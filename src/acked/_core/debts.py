"""The subscription to an ack-capable layer: buffer, settlement desk, and an orderly leaving."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from types import FrameType
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from acked._core.coding import Decoders
from acked._core.delivery import Batch, Delivery
from acked._core.desk import SettlementDesk
from acked._core.ledger import Debt, Ledger
from acked._core.options import DebtOptions
from acked._core.place import calling_frame
from acked._core.subscription import Batches, Subscription
from acked._machines.settlement import State
from acked.abc import AckLayer, Clock
from acked.errors import AckedError, ChannelClosed, DecodeError
from acked.types import SubscriptionStatistics

__all__ = ("DebtSubscription",)

T = TypeVar("T")

READS_BETWEEN_CHECKPOINTS = 100
"""A full buffer is read without suspending; so often the other tasks get their turn."""


class DebtSubscription(Subscription[Delivery[T]]):
    """An iterator of deliveries, each a debt until it is settled.

    At most `in_flight` messages are fetched and unsettled; what is settled makes room for more.
    Leaving it flushes settlements and gives back what is unsettled, at once: what the user never
    saw, or was interrupted at by cancellation, without an attempt being charged.
    """

    def __init__(
        self,
        layer: AckLayer,
        decoders: Decoders,
        options: DebtOptions,
        clock: Clock,
        on_opened: Callable[[Subscription[Any]], None],
        on_closed: Callable[[Subscription[Any]], None],
    ) -> None:
        super().__init__(options.close_timeout, on_opened, on_closed)
        self._layer = layer
        self._decoders = decoders
        self._options = options
        self._clock = clock
        self._ledger = Ledger(options.in_flight, options.in_flight_bytes)
        self._buffer: deque[Debt] = deque()
        self._desk: SettlementDesk | None = None
        self._reads = 0

    def __repr__(self) -> str:
        topics = ", ".join(sorted(self._decoders))
        return f"<Subscription to {topics} as {self._options.group!r}: {self.statistics()}>"

    async def __anext__(self) -> Delivery[T]:
        """Return the next delivery.

        Raises `DecodeError` for a body that does not fit the topic's type (with a dead-letter
        topic it goes there instead), `ConnectionLost` when reconnecting was given up, and with
        `confirm_acks=False` what became of a settlement that was not carried out.
        """
        while True:
            self._reads -= 1
            if self._reads < 0 or not self._buffer:
                await self._ready(1)
            delivery = self._next(calling_frame(1))
            if delivery is not None:
                return delivery

    def batches(self, size: int, *, wait: float = 0.0) -> AsyncIterator[Batch[T]]:
        """Iterate over batches of up to `size` deliveries, settled together by `batch.ack()`.

        A batch is handed out when it is full, or `wait` seconds after its first delivery was
        there: 0 takes whatever is there.
        """
        frame = calling_frame(1)

        def take(limit: int) -> Batch[T] | None:
            return self._take(limit, frame)

        return Batches(self._ready, take, size=min(size, self._options.in_flight), wait=wait)

    def statistics(self) -> SubscriptionStatistics:
        """Return what was done so far and what is held now."""
        ledger, buffered = self._ledger, len(self._buffer)
        seen_open = len(ledger.open) - buffered
        return SubscriptionStatistics(
            delivered=ledger.fetched - ledger.unseen - buffered,
            acked=ledger.closed[State.ACKED],
            nacked=ledger.closed[State.NACKED],
            rejected=ledger.closed[State.REJECTED],
            lost=ledger.closed[State.LOST],
            released=ledger.released,
            held=seen_open,
            buffered=buffered,
            open_bytes=ledger.open_bytes,
        )

    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""
        if self._desk is not None:
            self._desk.pump.fail(error)

    async def _open(self, stack: AsyncExitStack) -> None:
        options = self._options
        feed = await stack.enter_async_context(
            self._layer.consume(
                tuple(self._decoders),
                options.group,
                in_flight=options.in_flight,
                lease=options.lease,
                start=options.start,
            )
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        self._desk = desk = SettlementDesk(
            feed, self._layer.capabilities, self._ledger, options, self._clock
        )
        self._buffer = desk.pump.buffer
        for service in desk.services:
            tasks.start_soon(service)

    async def _ready(self, count: int) -> None:
        """Return when `count` are buffered, after a checkpoint if one is due; raise what failed."""
        desk = self._desk
        if desk is None:
            raise ChannelClosed("this subscription is not open; use it within `async with`")
        pump = desk.pump
        if self._reads < 0:
            self._reads = READS_BETWEEN_CHECKPOINTS
            await anyio.lowlevel.checkpoint()
        while True:
            trouble = desk.take_trouble()
            if trouble is not None:
                raise trouble
            if len(self._buffer) >= count:
                return
            if pump.failure is not None:
                if self._buffer:
                    return
                raise pump.failure
            await pump.arrival(count)

    def _next(self, frame: FrameType, *, alone: bool = True) -> Delivery[T] | None:
        """Return the first that is buffered; None if it went to the dead letters instead.

        One that does not decode raises; not `alone`, it stays buffered and ends the batch.
        """
        debt = self._buffer.popleft()
        desk = self._desk
        assert desk is not None  # noqa: S101 - something was buffered
        record = debt.leased.record
        try:
            body = self._decoders[record.topic](record.body)
        except Exception as error:  # whatever a codec raises, the body is to blame
            if desk.bury(debt, f"undecodable: {type(error).__name__}"):
                return None
            if not alone:
                self._buffer.appendleft(debt)
                raise _EndOfBatch from None
            raw = Delivery(record.body, debt, desk, frame.f_code, frame.f_lasti)
            raise undecodable(raw, error) from error
        return Delivery(body, debt, desk, frame.f_code, frame.f_lasti)

    def _take(self, limit: int, frame: FrameType) -> Batch[T] | None:
        taken: list[Delivery[T]] = []
        with suppress(_EndOfBatch):
            while self._buffer and len(taken) < limit:
                delivery = self._next(frame, alone=not taken)
                if delivery is not None:
                    taken.append(delivery)
        assert self._desk is not None  # noqa: S101 - something was buffered
        return Batch(taken, self._desk) if taken else None

    async def _leave(self, *, interrupted: bool) -> None:
        assert self._desk is not None  # noqa: S101 - _open came before
        await self._desk.leave(interrupted=interrupted)

    def _closed(self) -> None:
        self._buffer.clear()
        self.fail(ChannelClosed("this subscription was left"))

    def _trouble(self) -> AckedError | None:
        return self._desk.take_trouble() if self._desk is not None else None


class _EndOfBatch(Exception):
    """The next one does not decode: what was taken before it is a batch."""


def undecodable(delivery: Delivery[bytes], error: Exception) -> DecodeError:
    """Return the error for a body that does not fit its topic's type; no payload in its words."""
    return DecodeError(
        f"message {delivery.id} of topic {delivery.topic!r} ({len(delivery.body)} bytes) does not "
        f"decode as its topic says ({type(error).__name__}); it is still owed: settle "
        "error.delivery, or subscribe with redelivery=Redelivery(dead_letter=...)",
        raw=delivery.body,
        delivery=delivery,
    )
