"""What `subscribe` gives: events, one by one."""

import logging
from typing import Any, Final, Self

from acked import ChannelClosed, ConnectionLost, Gap, GapCause, Message, NewsSubscription
from acked.compat.broadcaster._events import Event, Unsubscribed
from acked.compat.broadcaster.backends._source import Source
from acked.errors import LayerError
from acked.types import NewsStatistics

__all__ = ("Subscriber",)

logger = logging.getLogger("acked.compat.broadcaster")


class Subscriber:
    """The events of one channel, in order; any task may read, each event goes to one of them."""

    def __init__(
        self, channel: str, news: NewsSubscription[Any], source: Source, *, ends_quietly: bool
    ) -> None:
        self._news = news
        self._source = source
        self._ends_quietly = ends_quietly
        self._losses: Final = _Losses(channel, news)

    async def get(self) -> Event:
        """Return the next event, waiting for it.

        Raises `Unsubscribed` after the subscription was left or the `Broadcast` disconnected, a
        `LayerError` that is also the driver's own when nothing will come any more.
        """
        try:
            message = await anext(self._news)
        except ChannelClosed:
            raise Unsubscribed from None
        except LayerError as error:
            if self._ends_quietly and isinstance(error, ConnectionLost):
                raise Unsubscribed from None
            raise self._source.driver.also(error) from error
        event = self._source.event(message)
        if message.gap is not None:
            event.gap = message.gap
        self._losses.note(message)
        return event

    def statistics(self) -> NewsStatistics:
        """Return how many messages were delivered, missed, and wait to be read."""
        return self._news.statistics()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.get()
        except Unsubscribed:
            raise StopAsyncIteration from None

    def closed(self) -> None:
        """Log what was dropped and never told."""
        self._losses.end()


class _Losses:
    """Logs what one subscriber misses: once for an episode, not for each message.

    A lost connection is an episode. An overflow is one until the subscriber has caught up.
    """

    def __init__(self, channel: str, news: NewsSubscription[Any]) -> None:
        self._channel = channel
        self._news = news
        self._is_behind = False
        self._reported = 0

    def note(self, message: Message[Any]) -> None:
        """Note what was read, and the gap before it."""
        if message.gap is not None:
            self._gap(message.gap)
        if self._is_behind and not self._news.statistics().buffered:
            self.end()

    def end(self) -> None:
        """Say how many were dropped since it was said last."""
        missed = self._news.statistics().missed
        if missed > self._reported:
            logger.warning(
                "a subscriber of %r has missed %d message(s): it read too slowly",
                self._channel,
                missed - self._reported,
            )
        self._reported = missed
        self._is_behind = False

    def _gap(self, gap: Gap) -> None:
        if GapCause.OVERFLOW in gap.causes and not self._is_behind:
            self._is_behind = True
            logger.warning("a subscriber of %r is too slow: messages are dropped", self._channel)
        if gap.causes - {GapCause.OVERFLOW}:
            logger.warning(
                "a subscriber of %r may have missed messages: %s",
                self._channel,
                "the connection was lost and made again"
                if GapCause.RECONNECT in gap.causes
                else "the broker dropped some",
            )
