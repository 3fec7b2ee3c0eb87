"""The subscription to an ack-capable layer: buffer, settlement policy, and an orderly leaving."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, TypeVar, cast

import anyio

from acked._core.ack.batch import Batch
from acked._core.ack.delivery import Delivery
from acked._core.ack.in_flight import InFlight, InFlightTracker
from acked._core.ack.last_chance import uncounted
from acked._core.ack.policy import SettlementPolicy
from acked._core.callsite import calling_frame
from acked._core.observer import Observer
from acked._core.options import AckSettings
from acked._core.publishing import Decoders
from acked._core.subscription import Batches, Subscription
from acked._core.without_values import without_values
from acked._machines.settlement import State
from acked.abc import AckFeed, AckLayer, AckPatternLayer, Clock, KeyOrderedLayer, LagFeed
from acked.clocks import SystemClock, system_time
from acked.errors import AckedError, ChannelClosed, DecodeError
from acked.types import AckStatistics

__all__ = ("AckSubscription",)

logger = logging.getLogger("acked.subscription")

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
        topics: Sequence[str],
        decoders: Decoders,
        options: AckSettings,
        clock: Clock,
        observer: Observer | None,
        on_opened: Callable[[Subscription[Any]], None],
        on_closed: Callable[[Subscription[Any]], None],
    ) -> None:
        super().__init__(options.close_timeout, on_opened, on_closed)
        self._layer = layer
        self._topics = topics
        self._decoders = decoders
        self._options = options
        self._clock = clock
        self._now = system_time if isinstance(clock, SystemClock) else clock.time
        self._leases_end = layer.capabilities.lease == "timer"
        self._observer = observer
        self._make: Callable[..., Delivery[T]] = Delivery if observer is None else self._observed
        self._tracker = InFlightTracker(options.in_flight, options.in_flight_bytes)
        self._buffer: deque[InFlight] = deque()
        self._feed: AckFeed | None = None
        self._policy: SettlementPolicy  # from opening on

    def __repr__(self) -> str:
        topics = ", ".join(sorted(self._topics))
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
                await self._ready(1, 1)
            entry = self._buffer.popleft()
            if self._leases_end and entry.lease.until <= self._now():
                self._buffer.appendleft(entry)
                await self._policy.renew_before_handing_out()
                continue
            frame = calling_frame(1)
            record = entry.leased.record
            try:
                body = self._decoders[record.topic](record.body)
            except Exception as error:  # noqa: BLE001 - whatever a codec raises, the body is to blame
                failed = error
            else:
                return self._make(body, entry, self._policy, frame.f_code, frame.f_lasti)
            # Out here the error as it was, which may quote the body, is not the context of ours.
            self._undecodable(entry, failed, frame)

    def batches(self, size: int, *, wait: float = 0.0) -> AsyncIterator[Batch[T]]:
        """Iterate over batches of up to `size` deliveries, settled together by `batch.ack()`.

        A batch is handed out when it is full, or `wait` seconds after its first delivery was
        there: 0 takes whatever is there.
        """
        frame = calling_frame(1)

        def take(limit: int) -> Batch[T] | None:
            return self._take(limit, frame)

        return Batches(self._ready, take, size=size, most=self._options.in_flight, wait=wait)

    def statistics(self) -> AckStatistics:
        """Return what was done so far and what is held now."""
        tracker = self._tracker
        buffered = self._policy.fetcher.unseen if self._opened else 0
        unseen = buffered + len(tracker.hidden)
        return AckStatistics(
            delivered=tracker.fetched - tracker.unseen - unseen,
            acked=tracker.closed[State.ACKED],
            nacked=tracker.closed[State.NACKED],
            rejected=tracker.closed[State.REJECTED],
            lost=tracker.closed[State.LOST],
            released=tracker.released,
            dead_lettered=tracker.dead_lettered,
            held=len(tracker.open) - unseen,
            buffered=buffered,
            open_bytes=tracker.open_bytes,
            set_aside=tracker.set_aside,
            expired=tracker.expired,
            lag=self._lag(),
        )

    @property
    def is_receiving(self) -> bool:
        """Whether it is open and the broker answers: not while a lost connection is made anew."""
        return self._opened and self._policy.fetcher.is_receiving

    def _lag(self) -> int | None:
        if self._feed is None or not self._layer.capabilities.lag:
            return None
        return cast("LagFeed", self._feed).lag()

    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""
        self._policy.fetcher.fail(error)

    def shut(self, error: AckedError) -> None:
        """Make the readers raise `error`: nothing more is handed out."""
        super().shut(error)
        if self._opened:
            self._policy.fetcher.shut(error)

    async def stop_receiving(self) -> None:
        """Fetch nothing more, and give back what nobody has seen."""
        if self._opened:
            await self._policy.stop_receiving()

    async def abandon(self) -> None:
        """Give back what is held: it cannot be settled any more."""
        if self._opened:
            await self._policy.abandon(charge=False)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        options = self._options
        layer = self._layer
        if options.redelivery.max_deliveries is not None and not layer.capabilities.last_chance:
            logger.warning("%s", uncounted(options, layer.capabilities))
        consume: Callable[..., AbstractAsyncContextManager[AckFeed]] = layer.consume
        if options.patterns:
            consume = cast("AckPatternLayer", layer).consume_patterns
        if options.ordered_by is not None:
            consume = cast("KeyOrderedLayer", layer).consume_in_key_order
        consuming = consume(
            self._topics,
            options.group,
            in_flight=options.in_flight,
            lease=options.lease,
            start=options.start,
        )
        async with consuming as self._feed, anyio.create_task_group() as tasks:
            self._policy = policy = SettlementPolicy(
                self._feed,
                self._layer.capabilities,
                self._tracker,
                options,
                self._clock,
                self._observer,
            )
            self._buffer = policy.fetcher.buffer
            for service in policy.services:
                tasks.start_soon(service)
            yield

    async def _ready(self, count: int, wanted: int) -> None:
        """Return when `count` are buffered, after a checkpoint if one is due; raise what failed.

        `wanted` is how many the reader would take.
        """
        if not self._opened:
            raise ChannelClosed("this subscription is not open; use it within `async with`")
        await self._take_turns()
        fetcher = self._policy.fetcher
        while True:
            error = self._policy.take_error()
            if error is not None:
                raise error
            if len(self._buffer) >= count:
                if not self._leases_end or self._buffer[0].lease.until > self._now():
                    return
                await self._policy.renew_before_handing_out()
                continue
            if fetcher.failure is not None:
                if self._buffer:
                    return
                raise fetcher.failure
            await fetcher.wait_for_more(count, wanted)

    def _undecodable(self, entry: InFlight, error: Exception, frame: FrameType) -> None:
        """Send it to the dead letters, or raise `DecodeError` if there are none."""
        if not self._policy.give_up(entry, f"undecodable: {type(error).__name__}"):
            record = entry.leased.record
            raw = Delivery(record.body, entry, self._policy, frame.f_code, frame.f_lasti)
            raise undecodable(raw, error) from without_values(error)

    def _take(self, limit: int, frame: FrameType) -> Batch[T] | None:
        """Return up to `limit` deliveries; one that does not decode ends the batch before it."""
        taken: list[Delivery[T]] = []
        now, place = self._now(), (self._policy, frame.f_code, frame.f_lasti)
        while self._buffer and len(taken) < limit:
            entry = self._buffer[0]
            if self._leases_end and entry.lease.until <= now:
                break
            record = entry.leased.record
            try:
                body = self._decoders[record.topic](record.body)
            except Exception as error:  # noqa: BLE001 - as above
                if taken and not self._policy.has_dead_letters:
                    break
                failed = error
            else:
                self._buffer.popleft()
                taken.append(self._make(body, entry, *place))
                continue
            self._buffer.popleft()
            self._undecodable(entry, failed, frame)
        self._reads -= len(taken)
        return Batch(taken, self._policy) if taken else None

    def _observed(self, body: T, entry: InFlight, *place: Any) -> Delivery[T]:
        """Make a delivery, and tell the observer that the user is handed it."""
        assert self._observer is not None  # noqa: S101 - else nobody calls this
        self._observer.handed_out(entry.leased)
        return Delivery(body, entry, *place)

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
        f"message {delivery.id!r} of topic {delivery.topic!r} ({len(delivery.body)} bytes) does "
        f"not decode as its topic says ({type(error).__name__}); it is still owed: settle "
        "error.delivery, or subscribe with redelivery=Redelivery(dead_letter=...)",
        raw=delivery.body,
        delivery=delivery,
    )
