"""What `subscribe` gives: events, one by one."""

import logging
from typing import Any, Final, Self

from acked import ChannelClosed, ConnectionLost, FireAndForgetSubscription
from acked.compat._losses import Losses
from acked.compat.broadcaster._events import Event, Unsubscribed
from acked.compat.broadcaster.backends._source import Source
from acked.errors import LayerError
from acked.types import FireAndForgetStatistics

__all__ = ("Subscriber",)

logger = logging.getLogger("acked.compat.broadcaster")


class Subscriber:
    """The events of one channel, in order; any task may read, each event goes to one of them."""

    def __init__(
        self,
        channel: str,
        news: FireAndForgetSubscription[Any],
        source: Source,
        *,
        ends_quietly: bool,
    ) -> None:
        self._news = news
        self._source = source
        self._ends_quietly = ends_quietly
        self._losses: Final = Losses(channel, news, logger)

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

    def statistics(self) -> FireAndForgetStatistics:
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
