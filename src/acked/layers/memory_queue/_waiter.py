"""Who waits at a group of a memory queue."""

from typing import Protocol

__all__ = ("Waiter",)


class Waiter(Protocol):
    """A consumer that waits for something to become ready."""

    @property
    def until(self) -> float:
        """The moment at which it looks again by itself."""
        ...

    @property
    def held(self) -> object:
        """What it holds itself, and never takes from itself."""
        ...

    def wake(self) -> None:
        """Let it look now."""
        ...
