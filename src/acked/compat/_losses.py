"""What a subscriber of a drop-in face misses, in the log."""

import logging
from typing import Any

from acked import FireAndForgetSubscription, Gap, GapCause, Message

__all__ = ("Losses",)


class Losses:
    """Logs what one subscriber misses: once for an episode, not for each message.

    A lost connection is an episode. An overflow is one until the subscriber has caught up.
    """

    def __init__(
        self, channel: str, news: FireAndForgetSubscription[Any], logger: logging.Logger
    ) -> None:
        self._channel = channel
        self._news = news
        self._logger = logger
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
            self._logger.warning(
                "a subscriber of %r has missed %d message(s): it read too slowly",
                self._channel,
                missed - self._reported,
            )
        self._reported = missed
        self._is_behind = False

    def _gap(self, gap: Gap) -> None:
        if GapCause.OVERFLOW in gap.causes and not self._is_behind:
            self._is_behind = True
            self._logger.warning(
                "a subscriber of %r is too slow: messages are dropped", self._channel
            )
        if gap.causes - {GapCause.OVERFLOW}:
            self._logger.warning(
                "a subscriber of %r may have missed messages: %s",
                self._channel,
                "the connection was lost and made again"
                if GapCause.RECONNECT in gap.causes
                else "the broker dropped some",
            )
