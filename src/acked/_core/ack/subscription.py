"""The subscription to an ack-capable layer: buffer, settlement policy, and an orderly leaving."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, TypeVar, cast

import anyio

from acked._core.ack.delivery import Batch, Delivery
from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.policy import SettlementPolicy
from acked._core.callsite import calling_frame
from acked._core.options import AckSettings
from acked._core.publishing import Decoders
from acked._core.subscription import Batches, Subscription
from acked._machines.settlement import State
from acked.abc import AckFeed, AckLayer, Clock, LagFeed
from acked.errors import AckedError, ChannelClosed, DecodeError
from acked.types import AckStatistics

__all__ = ("AckSubscription",)

T = TypeVar("T")


class AckSubscription(Subscription[Delivery[T]]):
    """An iterator of deliveries, each owed until it is settled.

    At most `in_flight` messages are fetched and unsettled; what is settled makes room for more.
    Leaving it flushes settlements and gives back what is unsettled, at once: what the user never
    saw, or was interrupted at by cancellation, without an attempt being charged.
    """

    def __init__(
        self,
        layer: AckLayer,
        decoders: Decoders,
        options: AckSettings,
        clock: Clock,
        on_opened: Callable[[Subscription[Any]], None],
        on_closed: Callable[[Subscription[Any]], None],
    ) -> None:
        super().__init__(options.close_timeout, on_opened, on_closed)
        self._layer = layer
        self._decoders = decoders
        self._options = options
        self._clock = clock
        self._tracker = InFlightTracker(options.in_flight, options.in_flight_bytes)
        self._buffer: deque[InFlight] = deque()
        self._feed: AckFeed | None = None
        self._policy: SettlementPolicy  # from opening on

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
            entry = self._buffer.popleft()
            frame = calling_frame(1)
            record = entry.leased.record
            try:
                body = self._decoders[record.topic](record.body)
            except Exception as error:  # noqa: BLE001 - whatever a codec raises, the body is to blame
                self._undecodable(entry, error, frame)
                continue
            return Delivery(body, entry, self._policy, frame.f_code, frame.f_lasti)

    def batches(self, size: int, *, wait: float = 0.0) -> AsyncIterator[Batch[T]]:
        """Iterate over batches of up to `size` deliveries, settled together by `batch.ack()`.

        A batch is handed out when it is full, or `wait` seconds after its first delivery was
        there: 0 takes whatever is there.
        """
        frame = calling_frame(1)

        def take(limit: int) -> Batch[T] | None:
            return self._take(limit, frame)

        return Batches(self._ready, take, size=min(size, self._options.in_flight), wait=wait)

    def statistics(self) -> AckStatistics:
        """Return what was done so far and what is held now."""
        tracker, buffered = self._tracker, len(self._buffer)
        seen_open = len(tracker.open) - buffered
        return AckStatistics(
            delivered=tracker.fetched - tracker.unseen - buffered,
            acked=tracker.closed[State.ACKED],
            nacked=tracker.closed[State.NACKED],
            rejected=tracker.closed[State.REJECTED],
            lost=tracker.closed[State.LOST],
            released=tracker.released,
            held=seen_open,
            buffered=buffered,
            open_bytes=tracker.open_bytes,
            lag=self._lag(),
        )

    def _lag(self) -> int | None:
        if self._feed is None or not self._layer.capabilities.lag:
            return None
        return cast("LagFeed", self._feed).lag()

    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""
        if self._opened:
            self._policy.fetcher.fail(error)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        options = self._options
        consuming = self._layer.consume(
            tuple(self._decoders),
            options.group,
            in_flight=options.in_flight,
            lease=options.lease,
            start=options.start,
        )
        async with consuming as self._feed, anyio.create_task_group() as tasks:
            self._policy = policy = SettlementPolicy(
                self._feed, self._layer.capabilities, self._tracker, options, self._clock
            )
            self._buffer = policy.fetcher.buffer
            for service in policy.services:
                tasks.start_soon(service)
            yield

    async def _ready(self, count: int) -> None:
        """Return when `count` are buffered, after a checkpoint if one is due; raise what failed."""
        if not self._opened:
            raise ChannelClosed("this subscription is not open; use it within `async with`")
        await self._take_turns()
        fetcher = self._policy.fetcher
        while True:
            error_of = self._policy.take_error()
            if error_of is not None:
                raise error_of
            if len(self._buffer) >= count:
                return
            if fetcher.failure is not None:
                if self._buffer:
                    return
                raise fetcher.failure
            await fetcher.wait_for_more(count)

    def _undecodable(self, entry: InFlight, error: Exception, frame: FrameType) -> None:
        """Send it to the dead letters, or raise `DecodeError` if there are none."""
        if not self._policy.dead_letter_it(entry, f"undecodable: {type(error).__name__}"):
            record = entry.leased.record
            raw = Delivery(record.body, entry, self._policy, frame.f_code, frame.f_lasti)
            raise undecodable(raw, error) from error

    def _take(self, limit: int, frame: FrameType) -> Batch[T] | None:
        """Return up to `limit` deliveries; one that does not decode ends the batch before it."""
        taken: list[Delivery[T]] = []
        while self._buffer and len(taken) < limit:
            entry = self._buffer[0]
            record = entry.leased.record
            try:
                body = self._decoders[record.topic](record.body)
            except Exception as error:  # noqa: BLE001 - as above
                if taken and not self._policy.has_dead_letters:
                    break
                self._buffer.popleft()
                self._undecodable(entry, error, frame)
                continue
            self._buffer.popleft()
            taken.append(Delivery(body, entry, self._policy, frame.f_code, frame.f_lasti))
        return Batch(taken, self._policy) if taken else None

    async def _leave(self, *, interrupted: bool) -> None:
        await self._policy.leave(interrupted=interrupted)

    def _closed(self) -> None:
        self._buffer.clear()
        self.fail(ChannelClosed("this subscription was left"))

    def _error(self) -> AckedError | None:
        return self._policy.take_error() if self._opened else None


def undecodable(delivery: Delivery[bytes], error: Exception) -> DecodeError:
    """Return the error for a body that does not fit its topic's type; no payload in its words."""
    return DecodeError(
        f"message {delivery.id} of topic {delivery.topic!r} ({len(delivery.body)} bytes) does not "
        f"decode as its topic says ({type(error).__name__}); it is still owed: settle "
        "error.delivery, or subscribe with redelivery=Redelivery(dead_letter=...)",
        raw=delivery.body,
        delivery=delivery,
    )
