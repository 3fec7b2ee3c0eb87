"""What a benchmark found: rates and the ratios that count, as text and as JSON."""

from pathlib import Path

import msgspec


class Report(msgspec.Struct):
    """Rates by contender in `unit`, and named ratios between two of them."""

    name: str
    unit: str
    rates: dict[str, float]
    ratios: dict[str, float] = msgspec.field(default_factory=dict[str, float])

    def ratio(self, name: str, first: str, second: str) -> None:
        """Note the rate of `first` over that of `second`."""
        self.ratios[name] = self.rates[first] / self.rates[second]

    def show(self) -> str:
        """Return the report as lines for people."""
        width = max(map(len, (*self.rates, *self.ratios)))
        lines = [f"{self.name} ({self.unit}; best of the rounds)"]
        lines += [f"  {name:<{width}}  {rate:>12,.0f}" for name, rate in self.rates.items()]
        lines += [f"  {name:<{width}}  {ratio:>12.2f} x" for name, ratio in self.ratios.items()]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
