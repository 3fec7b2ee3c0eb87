"""How long to wait before trying again.

Rules:

1. The wait before try n (from 1) is `initial * factor ** (n - 1)`, at most `maximum`. It never
   overflows, however large n grows, and factors need not be whole numbers.
2. `spread` takes a random part off, so that many clients do not come back in step: with 0.5 a wait
   lies between half of and the whole of the schedule. The chance comes from the caller, in [0, 1).
"""

import math

import msgspec

from acked.errors import ConfigurationError

__all__ = ("Backoff",)


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of waits, in seconds: `initial`, then `factor` times more each, up to `maximum`.

    Raises `ConfigurationError` for a negative wait, a factor below 1 or a spread outside [0, 1].
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    spread: float = 0.5

    def __post_init__(self) -> None:
        legal = 0 <= self.initial <= self.maximum and self.factor >= 1 and 0 <= self.spread <= 1
        if not legal or not math.isfinite(self.maximum):
            raise ConfigurationError(
                f"{self} is no schedule: needs 0 <= initial <= maximum, factor >= 1 and "
                "0 <= spread <= 1"
            )

    def delay(self, attempt: int, chance: float = 0.0) -> float:
        """Return the wait in seconds before try `attempt`, from 1; `chance` in [0, 1)."""
        return self._scheduled(attempt) * (1.0 - self.spread * chance)

    def _scheduled(self, attempt: int) -> float:
        if self.initial == 0:
            return 0.0
        try:
            grown = self.initial * self.factor ** (attempt - 1)
        except OverflowError:  # above any float, so above the maximum
            return self.maximum
        return min(grown, self.maximum)
