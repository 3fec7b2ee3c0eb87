"""One subscription as the connection sees it: its sink, and whether its subscriber is in."""

from acked.abc import Sink
from acked.errors import LayerError
from acked.layers._shared.blocked_sink import BACKLOG_BYTES, RECORD_BYTES, BlockedSink

__all__ = ("BACKLOG_BYTES", "RECORD_BYTES", "RedisListener")


class RedisListener(BlockedSink):
    """One subscription: its sink, with the backlog of what that had no room for."""

    __slots__ = ("_refused", "is_in")

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, BACKLOG_BYTES)
        self.is_in = False
        """Whether its subscriber was told that it is in, so that a loss is a gap to it."""
        self._refused: LayerError | None = None

    def enter(self) -> None:
        """Note that all its topics were confirmed; raise what has ended one of them since."""
        if self._refused is not None:
            raise self._refused
        self.is_in = True

    def fail(self, error: LayerError) -> None:
        """Tell that nothing comes any more, behind all that waits."""
        if self.is_in:
            super().fail(error)
        else:
            self._refused = error
