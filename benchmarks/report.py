"""What a benchmark found: figures of each round by contender, and ratios of contenders."""

from pathlib import Path
from statistics import median
from typing import Final

import msgspec


class Round(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one contender did in one round."""

    rate: float
    """In the report's unit, mostly messages a second."""
    p50: float | None = None
    """Microseconds that half of the messages took at most, where each was waited for."""
    p99: float | None = None
    """The same for 99 of a hundred."""
    cpu: float | None = None
    """Microseconds of this process's processor for each message."""
    server: float | None = None
    """Microseconds of the server's processor for each message, joining and leaving included."""
    commands: float | None = None
    """Commands that Redis counted for each message, or transactions of PostgreSQL."""
    peak: float | None = None
    """The most memory that the process had, in MiB."""


COLUMNS: Final = {
    "p50": "us p50",
    "p99": "us p99",
    "cpu": "us CPU",
    "server": "us server",
    "commands": "commands",
    "peak": "MiB",
}
"""What is shown of a round beside its rate, and in which words."""


class Report(msgspec.Struct):
    """Rounds by contender, and the ratios that count: medians of what was measured in pairs."""

    name: str
    unit: str
    rounds: dict[str, list[Round]] = msgspec.field(default_factory=dict[str, list[Round]])
    ratios: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    missing: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Whom it is without, and why."""
    broker: str = ""
    """Which one all of them used, and its version."""

    def add(self, contender: str, one: Round) -> None:
        """Note a round."""
        self.rounds.setdefault(contender, []).append(one)

    def leave_out(self, contender: str, reason: str) -> None:
        """Note that `contender` cannot be measured; what was measured of it is no longer there."""
        self.rounds.pop(contender, None)
        self.missing[contender] = reason

    def over(self, first: str, second: str) -> float | None:
        """Return the rate of `first` over that of `second`: round by round, then the median."""
        if first not in self.rounds or second not in self.rounds:
            return None
        pairs = zip(self.rounds[first], self.rounds[second], strict=True)
        return median(one.rate / other.rate for one, other in pairs)

    def over_by_cpu(self, first: str, second: str) -> float | None:
        """Return how many times the processor time of `first` that of `second` is, likewise.

        This process's alone: steadier than the clock where others use the machine, too.
        """
        if first not in self.rounds or second not in self.rounds:
            return None
        pairs = zip(self.rounds[first], self.rounds[second], strict=True)
        found = [other.cpu / one.cpu for one, other in pairs if one.cpu and other.cpu]
        return median(found) if found else None

    def ratio(self, name: str, first: str, second: str) -> None:
        """Note the rate of `first` over that of `second`, if both were measured."""
        if (found := self.over(first, second)) is not None:
            self.ratios[name] = found

    def rate(self, contender: str) -> float | None:
        """Return the median rate of `contender`, if it was measured."""
        rounds = self.rounds.get(contender)
        return median(one.rate for one in rounds) if rounds else None

    def cpu_ratio(self, name: str, first: str, second: str) -> None:
        """Note how much processor time `second` takes for a message, over that of `first`."""
        pairs = zip(self.rounds[first], self.rounds[second], strict=True)
        self.ratios[name] = median((other.cpu or 0.0) / (one.cpu or 1.0) for one, other in pairs)

    def show(self) -> str:
        """Return the report as lines for people."""
        width = max(map(len, (*self.rounds, *self.ratios, *self.missing)))
        title = f"{self.name} ({self.unit})"
        lines = [f"{title:<{width + 2}}  {'median':>11}  {'least':>11}  {'most':>11}"]
        lines += [f"  {name:<{width}}  {_figures(rounds)}" for name, rounds in self.rounds.items()]
        lines += [f"  {name:<{width}}  {ratio:>11.2f} x" for name, ratio in self.ratios.items()]
        lines += [f"  {name:<{width}}  left out: {why}" for name, why in self.missing.items()]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write the report as JSON into `folder`."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_bytes(text + b"\n")


def median_of(rounds: list[Round], column: str) -> float | None:
    """Return the median of one of `COLUMNS`, if it was measured."""
    found = [value for one in rounds if (value := getattr(one, column)) is not None]
    return median(found) if found else None


def _figures(rounds: list[Round]) -> str:
    rates = [one.rate for one in rounds]
    words = [f"{value:>11,.0f}" for value in (median(rates), min(rates), max(rates))]
    for column, unit in COLUMNS.items():
        if (found := median_of(rounds, column)) is not None:
            words.append(f"{found:>7.2f} {unit}")
    return "  ".join(words)
