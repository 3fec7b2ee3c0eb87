"""Which operations of a `FaultLayer` fail, and how; the table is in `fault_layer`."""

import random
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from acked.errors import ConfigurationError

__all__ = ("FAILURES", "Failure", "Fault", "FaultPlan", "Operation")

Operation: TypeAlias = Literal["publish", "receive", "settle", "extend", "deliver"]
Failure: TypeAlias = Literal[
    "refused",
    "unsent",
    "unanswered",
    "disconnected",
    "lease_ended",
    "dropped",
    "reconnected",
    "delayed",
]

FAILURES: Final[dict[str, tuple[Failure, ...]]] = {
    "publish": ("refused", "unsent", "unanswered", "delayed"),
    "receive": ("disconnected", "lease_ended", "delayed"),
    "settle": ("unsent", "unanswered", "lease_ended", "refused", "delayed"),
    "extend": ("disconnected", "refused", "delayed"),
    "deliver": ("dropped", "reconnected"),
}
"""What can happen to each operation."""


class Fault(msgspec.Struct, frozen=True):
    """What happens to the operation number `number` (from 0) of its kind.

    Raises `ConfigurationError` for a fault that this operation cannot have.
    """

    operation: Operation
    number: int
    failure: Failure

    def __post_init__(self) -> None:
        legal = FAILURES.get(self.operation, ())
        if self.failure not in legal:
            raise ConfigurationError(
                f"{self.operation!r} cannot be {self.failure!r}; it can be: {', '.join(legal)}"
            )


class FaultPlan:
    """Which operations fail, and how: a list, or by chance with a seed.

    `FaultPlan([Fault("publish", 2, "unanswered")])` is exact; `FaultPlan(seed=7, rate=0.1)` lets
    one operation in ten fail. The same seed gives the same operation the same fault, however
    tasks interleave. `delay` is in seconds. `injected` says what happened so far, in order.

    Raises `ConfigurationError` for a `rate` outside [0, 1] or a negative `delay`.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        seed: int | None = None,
        rate: float = 0.05,
        delay: float = 0.1,
    ) -> None:
        if not 0 <= rate <= 1 or delay < 0:
            raise ConfigurationError(
                f"rate={rate}, delay={delay}: needs 0 <= rate <= 1, delay >= 0"
            )
        self.delay: Final = delay
        self.injected: Final[list[Fault]] = []
        self._faults = {(fault.operation, fault.number): fault for fault in faults}
        self._seed = seed
        self._rate = rate
        self._numbers: Counter[Operation] = Counter()

    def __repr__(self) -> str:
        return f"<FaultPlan, seed {self._seed}, injected so far: {self.injected}>"

    def next(self, operation: Operation) -> Failure | None:
        """Count one more `operation` and return what happens to it; None if nothing does."""
        number = self._numbers[operation]
        self._numbers[operation] += 1
        fault = self._faults.get((operation, number)) or self._by_chance(operation, number)
        if fault is None:
            return None
        self.injected.append(fault)
        return fault.failure

    def _by_chance(self, operation: Operation, number: int) -> Fault | None:
        if self._seed is None:
            return None
        chance = random.Random(f"{self._seed} {operation} {number}")  # noqa: S311 - no secret
        if chance.random() >= self._rate:
            return None
        return Fault(operation, number, chance.choice(FAILURES[operation]))
