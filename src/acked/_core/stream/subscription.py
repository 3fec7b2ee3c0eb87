"""The subscription to a fire-and-forget layer: a bounded stream that counts what it loses."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

from acked._core.observer import Observer
from acked._core.options import FireAndForgetSettings
from acked._core.publishing import Decoders
from acked._core.stream.buffer import Stream
from acked._core.stream.message import Message
from acked._core.subscription import Batches, Subscription
from acked._machines.overflow import merged
from acked.abc import FireAndForgetLayer, PatternLayer
from acked.errors import AckedError, ChannelClosed, DecodeError
from acked.types import FireAndForgetStatistics, Gap

__all__ = ("FireAndForgetSubscription",)

T = TypeVar("T")


class FireAndForgetSubscription(Subscription[Message[T]]):
    """An iterator of messages; at most `capacity` wait to be read, and every loss is counted.

    A message's `gap` says what may have been missed just before it; `statistics()` says it in sum.
    """

    # Slots, and no coroutine between `__anext__` and its wait: a process has thousands of these.
    __slots__ = (
        "_carried",
        "_decoders",
        "_delivered",
        "_layer",
        "_names",
        "_patterns",
        "_stream",
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
        self._stream = Stream(options, observer)
        self._delivered = 0
        self._carried: Gap | None = None
        self._undecodable: DecodeError | None = None

    def __repr__(self) -> str:
        return f"<Subscription to {', '.join(sorted(self._names))}: {self.statistics()}>"

    async def __anext__(self) -> Message[T]:
        """Return the next message.

        Raises `DecodeError` for a body that does not fit the topic's type (the next call goes on
        behind it), `StreamOverflow` under `Overflow.FAIL`, `LayerError` when the layer gave up.
        """
        self._reads -= 1
        if self._reads < 0:
            await self._take_turns()
        if self._undecodable is not None or not self._stream.buffer.items:
            while not self._is_ready(1):
                try:
                    await self._stream.arrived.wait()
                except BaseException:
                    self._wake_another()
                    raise
        return self._next()

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
        )

    def fail(self, error: AckedError) -> None:
        """Make the readers raise `error` once they have read what is buffered."""
        self._stream.end(error)

    def _open(self) -> AbstractAsyncContextManager[None]:
        if self._patterns:
            by_pattern = cast("PatternLayer", self._layer)  # the channel looked at its capabilities
            return by_pattern.listen_patterns(self._names, self._stream)
        return self._layer.listen(self._names, self._stream)

    async def _ready(self, count: int, wanted: int) -> None:  # noqa: ARG002 - nothing is fetched
        """Return when `count` are buffered, after a checkpoint if one is due; raise what failed."""
        await self._take_turns()
        notify = self._stream.arrived if count == 1 else self._stream.gathered
        while not self._is_ready(count):
            try:
                await notify.wait()
            except BaseException:
                self._wake_another()
                raise

    def _wake_another(self) -> None:
        # Race: woken for a message, and cancelled: another reader must have it.
        self._stream.arrived.wake(len(self._stream.buffer))

    def _is_ready(self, count: int) -> bool:
        """Say whether `count` are buffered, or as many as will ever be; raise what failed."""
        stream = self._stream
        if self._undecodable is not None:
            error, self._undecodable = self._undecodable, None
            raise error
        buffered = len(stream.buffer)
        if buffered >= count:
            return True
        if not self._opened:
            raise ChannelClosed("this subscription is not open; use it within `async with`")
        failure = stream.overflowed() or stream.failure
        if failure is None:
            return False
        if not buffered:
            raise failure
        return True

    def _next(self) -> Message[T]:
        record, gap = self._stream.take()
        if self._carried is not None:
            gap, self._carried = merged(self._carried, gap), None
        try:
            body = self._decoders[record.topic](record.body)
        except Exception as error:
            self._carried = gap  # told with the next message instead
            raise DecodeError(
                f"message {record.id} of topic {record.topic!r} ({len(record.body)} bytes) does "
                f"not decode as its topic says ({type(error).__name__}); reading goes on behind it",
                raw=record.body,
            ) from error
        self._delivered += 1
        return Message(body, record, gap)

    def _take(self, limit: int) -> Sequence[Message[T]] | None:
        taken: list[Message[T]] = []
        while len(taken) < limit and len(self._stream.buffer):
            try:
                taken.append(self._next())
            except DecodeError as error:
                if not taken:
                    raise
                self._undecodable = error  # raised by the next read: what came before is a batch
                break
        return taken or None

    async def _leave(self, *, interrupted: bool) -> None:  # noqa: ARG002 - news has no debts
        self._stream.close()

    def _closed(self) -> None:
        self.fail(ChannelClosed("this subscription was left"))

    def _error(self) -> AckedError | None:
        return None
