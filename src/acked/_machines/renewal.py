"""Which leases to renew, and when.

Rules:

1. A lease is renewed three times in its length, so that one late or failed renewal costs nothing.
2. Everything held or buffered is renewed, in one call, until it is settled.
3. A lease is not renewed any more once the message was in our hands for longer than `max_lease`:
   a handler that hangs for ever must not keep its message for ever. The engine gives it back.
4. The start of "in our hands" is the first renewal that saw the message: so the bound is kept to
   within one interval, and costs the hot path nothing.
5. What was extended by hand is left alone until its own end comes near: a renewal must not cut
   an extension short.
"""

from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

__all__ = ("RENEWALS_A_LEASE", "Renewal")

H = TypeVar("H", bound=Hashable)

RENEWALS_A_LEASE: Final = 3


class Renewal(Generic[H]):
    """Decide at each turn which of the held things to renew; `lease`, `max_lease` in seconds."""

    def __init__(self, lease: float, max_lease: float | None) -> None:
        self.interval: Final = lease / RENEWALS_A_LEASE
        self._lease = lease
        self._max_lease = max_lease
        self.outlived: list[H] = []
        """What was held for longer than `max_lease`, as the last look at all found it."""
        self._since: dict[H, float] = {}
        self._extended: dict[H, float] = {}

    def extended(self, item: H, until: float) -> None:
        """Note that the lease of `item` was extended by hand to the moment `until`."""
        self._extended[item] = until

    def due(self, held: Iterable[H], now: float) -> list[H]:
        """Return those of `held` to renew at the time `now`, and forget whatever is not held."""
        self._since = {item: self._since.get(item, now) for item in held}
        self._extended = {
            item: until
            for item, until in self._extended.items()
            if item in self._since and until > now + self._lease
        }
        most = self._max_lease
        old = {i for i, since in self._since.items() if most is not None and now - since >= most}
        self.outlived = [item for item in old if item not in self._extended]
        return [item for item in self._since if item not in old and item not in self._extended]
