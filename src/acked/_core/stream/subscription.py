"""The subscription to a fire-and-forget layer: a bounded stream that counts what it loses."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar, cast

from acked._core.bounds import is_within_bounds, shown, what_is_beyond_bounds
from acked._core.observer import Observer
from acked._core.options import FireAndForgetSettings
from acked._core.publishing import Decoders
from acked._core.stream.buffer import Stream
from acked._core.stream.gaps import MessagesAndGaps
from acked._core.stream.message import Message
from acked._core.subscription import Batches, Subscription
from acked._core.without_values import without_values
from acked._machines.overflow import merged
from acked.abc import FireAndForgetLayer, PatternLayer
from acked.errors import AckedError, ChannelClosed, DecodeError
from acked.types import FireAndForgetStatistics, Gap, Record

__all__ = ("FireAndForgetSubscription",)

T = TypeVar("T")

logger = logging.getLogger("acked.subscription")


class FireAndForgetSubscription(Subscription[Message[T]]):
    """An iterator of messages; at most `capacity` wait to be read, and every loss is counted.

    A message's `gap` says what may have been missed just before it; `with_gaps()` hands each gap
    out by itself, at once; `statistics()` says it in sum.
    """

    # Slots, and no coroutine between `__anext__` and its wait: a process has thousands of these.
    __slots__ = (
        "_carried",
        "_decoders",
        "_delivered",
        "_layer",
        "_names",
        "_patterns",
        "_raises",
        "_stream",
        "_to_raise",
        "_undecodable",
    )

    def __init__(
        self,
        layer: FireAndForgetLayer,
        names: Sequence[str],
        decoders: Decoders,
        options: FireAndForgetSettings,
        observer: Observer | None,
        on_opened: Callable[[Subscription[Any]], None],
        on_closed: Callable[[Subscription[Any]], None],
    ) -> None:
        super().__init__(options.close_timeout, on_opened, on_closed)
        self._layer = layer
        self._names = names
        self._decoders = decoders
        self._patterns = options.patterns
        self._stream: Stream[Record] = Stream(options.capacity, options.overflow, observer)
        self._delivered = 0
        self._carried: Gap | None = None
        self._raises = options.on_undecodable == "raise"
        self._to_raise: DecodeError | None = None
        self._undecodable = 0

    def __repr__(self) -> str:
        return f"<Subscription to {', '.join(sorted(self._names))}: {self.statistics()}>"

    async def __anext__(self) -> Message[T]:
        """Return the next message.

        Raises `StreamOverflow` under `Overflow.FAIL`, `LayerError` when the layer gave up, and with
        `on_undecodable="raise"` `DecodeError` for a body that does not fit the topic's type: the
        next call goes on behind it.
        """
        stream = self._stream
        while True:
            self._reads -= 1
            if self._reads < 0:
                await self._take_turns()
            if not stream.buffer.items or self._to_raise is not None:
                while not self._is_ready(1):
                    try:
                        await stream.arrived.wait()
                    except BaseException:
                        stream.wake_another()
                        raise
                    if stream.buffer.items and self._to_raise is None:
                        break  # as `_is_ready` would say
            message = self._next()
            if message is not None:
                return message

    def with_gaps(self) -> MessagesAndGaps[T]:
        """Iterate over messages and gaps: each gap by itself, at its place and at once.

        ```python
        async for item in invalidations.with_gaps():
            if isinstance(item, Gap):
                cache.clear()
            else:
                cache.forget(item.body)
        ```

        So a reader that waits on a quiet topic is told of a lost connection when it is over, not
        with the next message, and of what was dropped last. The messages have no `gap` then.
        """
        ready = partial(self._ready, gaps=True)
        return MessagesAndGaps(ready, self._take_with_gaps, self._stream.buffer.capacity)

    def batches(self, size: int, *, wait: float = 0.0) -> AsyncIterator[Sequence[Message[T]]]:
        """Iterate over lists of up to `size` messages.

        A list is handed out when it is full, or `wait` seconds after its first message was
        there: 0 takes whatever is there.
        """
        most = self._stream.buffer.capacity
        return Batches(self._ready, self._take, size=size, most=most, wait=wait)

    def statistics(self) -> FireAndForgetStatistics:
        """Return what was delivered and missed so far."""
        stream = self._stream
        return FireAndForgetStatistics(
            delivered=self._delivered,
            missed=stream.buffer.missed + stream.told,
            unknown_gaps=stream.unknown_gaps,
            buffered=len(stream.buffer),
            undecodable=self._undecodable,
        )

    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""
        self._stream.end(error)

    def _open(self) -> AbstractAsyncContextManager[None]:
        if self._patterns:
            by_pattern = cast("PatternLayer", self._layer)  # the channel looked at its capabilities
            return by_pattern.listen_patterns(self._names, self._stream)
        return self._layer.listen(self._names, self._stream)

    async def _ready(self, count: int, wanted: int, *, gaps: bool = False) -> None:  # noqa: ARG002
        """Return when `count` are buffered, after a checkpoint if one is due; raise what failed."""
        await self._take_turns()
        notify = self._stream.arrived if count == 1 else self._stream.gathered
        while not self._is_ready(count, gaps=gaps):
            try:
                await notify.wait()
            except BaseException:
                self._stream.wake_another()
                raise

    def _is_ready(self, count: int, *, gaps: bool = False) -> bool:
        """Say whether `count` are buffered, or as many as will ever be; raise what failed."""
        stream = self._stream
        if self._to_raise is not None:
            error, self._to_raise = self._to_raise, None
            raise error
        buffered = len(stream.buffer.items)
        if buffered >= count or (gaps and stream.buffer.pending_gap is not None):
            return True
        if not self._opened:
            raise ChannelClosed("this subscription is not open; use it within `async with`")
        failure = stream.overflowed() if stream.buffer.failed else stream.failure
        if failure is None:
            return False
        if not buffered:
            raise failure
        return True

    def _next(self) -> Message[T] | None:
        """Return the oldest message, or None if it did not decode and is skipped."""
        record, gap = self._stream.take()
        if self._carried is not None:
            gap, self._carried = merged(self._carried, gap), None
        failed: Exception | None = None
        if is_within_bounds(record):
            try:
                body = self._decoders[record.topic](record.body)
            except Exception as error:  # noqa: BLE001 - whatever a codec raises, the body is to blame
                failed = error
            else:
                self._delivered += 1
                return Message(body, record, gap)
        # Out here the error as it was, which may quote the body, is not the context of ours.
        self._carried = gap  # told with the next message instead
        self._undecodable += 1
        why = type(failed).__name__ if failed else what_is_beyond_bounds(record)
        if self._raises:
            raise _undecodable(record, why) from (failed and without_values(failed))
        self._log_skipped(record, why)
        return None

    def _log_skipped(self, record: Record, why: str) -> None:
        """Log the first, the tenth, the hundredth: anybody can publish what does not decode."""
        count = str(self._undecodable)
        if count.strip("0") == "1":
            logger.warning(
                "%s message(s) skipped so far: message %r of topic %r does not decode as its topic "
                "says (%s); statistics().undecodable counts on",
                count,
                shown(record.id),
                shown(record.topic),
                why,
            )

    def _take(self, limit: int) -> Sequence[Message[T]] | None:
        taken: list[Message[T]] = []
        while len(taken) < limit and self._take_one(taken):
            pass
        return taken or None

    def _take_with_gaps(self, limit: int) -> Sequence[Message[T] | Gap] | None:
        taken: list[Message[T] | Gap] = []
        more = True
        while more and len(taken) < limit:
            gap, self._carried = merged(self._carried, self._stream.buffer.take_gap()), None
            if gap is not None:
                taken.append(gap)
            else:
                more = self._take_one(taken)
        return taken or None

    def _take_one(self, taken: "list[Any]") -> bool:
        """Append the next message, if it decodes; say whether to go on."""
        if not self._stream.buffer.items:
            return False
        try:
            message = self._next()
        except DecodeError as error:
            if not taken:
                raise
            self._to_raise = error  # raised by the next read: what came before is a batch
            return False
        if message is not None:
            taken.append(message)
        return True

    async def _leave(self, *, interrupted: bool) -> None:  # noqa: ARG002 - news has no debts
        untold = merged(self._carried, self._stream.buffer.pending_gap)
        if untold is not None and not self._stream.buffer.items:
            logger.warning(
                "the subscription to %s ends with a gap that no message followed: %s",
                ", ".join(sorted(self._names)),
                untold,
            )
        self._stream.close()

    def _closed(self) -> None:
        self.fail(ChannelClosed("this subscription was left"))

    def _error(self) -> AckedError | None:
        return None


def _undecodable(record: Record, why: str) -> DecodeError:
    return DecodeError(
        f"message {shown(record.id)!r} of topic {shown(record.topic)!r} ({len(record.body)} bytes) "
        f"does not decode as its topic says ({why}); reading goes on behind it",
        raw=record.body,
    )
