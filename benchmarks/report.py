"""What a benchmark found: figures of each round by contender, and ratios of contenders."""

from pathlib import Path
from statistics import median

import msgspec


class Round(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one contender did in one round."""

    rate: float
    """In the report's unit, mostly messages a second."""
    cpu: float | None = None
    """Microseconds of this process's processor for each message."""
    peak: float | None = None
    """The most memory that the process had, in MiB."""
    commands: float | None = None
    """Commands that the server counted for each message."""


class Report(msgspec.Struct):
    """Rounds by contender, and the ratios that count: medians of what was measured in pairs."""

    name: str
    unit: str
    rounds: dict[str, list[Round]] = msgspec.field(default_factory=dict[str, list[Round]])
    ratios: dict[str, float] = msgspec.field(default_factory=dict[str, float])

    def add(self, contender: str, one: Round) -> None:
        """Note a round."""
        self.rounds.setdefault(contender, []).append(one)

    def ratio(self, name: str, first: str, second: str) -> None:
        """Note the rate of `first` over that of `second`: round by round, then the median."""
        pairs = zip(self.rounds[first], self.rounds[second], strict=True)
        self.ratios[name] = median(one.rate / other.rate for one, other in pairs)

    def show(self) -> str:
        """Return the report as lines for people."""
        width = max(map(len, (*self.rounds, *self.ratios)))
        title = f"{self.name} ({self.unit})"
        lines = [f"{title:<{width + 2}}  {'median':>11}  {'least':>11}  {'most':>11}"]
        lines += [f"  {name:<{width}}  {_figures(rounds)}" for name, rounds in self.rounds.items()]
        lines += [f"  {name:<{width}}  {ratio:>11.2f} x" for name, ratio in self.ratios.items()]
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write the report as JSON into `folder`."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_bytes(text + b"\n")


def _figures(rounds: list[Round]) -> str:
    rates = [one.rate for one in rounds]
    words = [f"{value:>11,.0f}" for value in (median(rates), min(rates), max(rates))]
    for name, unit in (("cpu", "us"), ("peak", "MiB"), ("commands", "commands")):
        found = [value for one in rounds if (value := getattr(one, name)) is not None]
        if found:
            words.append(f"{median(found):>7.2f} {unit}")
    return "  ".join(words)
