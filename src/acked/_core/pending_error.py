"""What went wrong while nobody waited for it: kept for the next read, which raises it once."""

from acked.errors import AckedError

__all__ = ("PendingError",)


class PendingError:
    """The first error since the last read, and how many came after it."""

    def __init__(self) -> None:
        self._error: AckedError | None = None
        self._more = 0

    def note(self, error: AckedError, count: int) -> None:
        """Note `count` errors, of which `error` is the first."""
        self._more += count - (self._error is None)
        self._error = self._error or error

    def take(self) -> AckedError | None:
        """Return the error, once, with a note of those that came after it."""
        error, self._error = self._error, None
        if error is not None and self._more:
            error.add_note(f"and {self._more} more since the last read: see statistics()")
            self._more = 0
        return error
