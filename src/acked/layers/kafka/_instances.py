"""Names of static members: one for each subscription of this process to a group."""

from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ("Instances",)


class Instances:
    """Hands out names that are the same after a restart, and never the same twice at a time."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._taken: Final[defaultdict[str, set[int]]] = defaultdict(set)

    @contextmanager
    def taken(self, group: str) -> Generator[str | None]:
        """Give the first free name in `group` while this is entered; None if there are none."""
        if self._name is None:
            yield None
            return
        taken = self._taken[group]
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        taken.add(number)
        try:
            yield self._name if number == 0 else f"{self._name}-{number}"
        finally:
            taken.discard(number)
