"""What one message costs as a number grows: subscribers, readers, topics, what is pending, bytes.

A cost that grows faster than the work is a cliff that a benchmark of one size never sees. Each
size is measured in a process of its own; a step is the cost at a size over that at the size
before, mostly a tenth of it. Costs are of wall time, or with `--cpu` of this process's processor,
which neighbours disturb least, and which leaves the server out; the least of the rounds counts,
since a neighbour only ever adds. Steps beyond 1.5 are marked. Costs of bodies are for each
kilobyte, where they are larger than one. The largest sizes take long: they are measured with
`--full`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import growing
from benchmarks.clock import Clock
from benchmarks.growing import Measured
from benchmarks.picture import Points, picture
from benchmarks.places import place

STEP: Final = 1.5
"""By how much a message may cost more at ten times the size."""
PATIENCE: Final = 1200
PICTURE: Final = "growth.svg"


@dataclass(frozen=True)
class Series:
    """What grows, on which layers, to what size, and to what beyond that with `--full`."""

    what: str
    measured: Measured
    layers: Sequence[str]
    sizes: Sequence[int]
    beyond: Sequence[int] = ()


DECADES: Final = (1, 10, 100, 1000)
TEN: Final = (10_000,)
HUNDRED: Final = (100_000,)
QUEUES: Final = ("memory-queue", "sqlite-queue", "redis-streams", "postgres-queue")
BYTES: Final = (100, 1000, 10_000, 100_000, 1_000_000)
SERIES: Final = (
    Series("subscribers", growing.subscribers, ("memory",), (*DECADES, *TEN)),
    Series("subscribers", growing.queues, ("asyncio.Queue",), (*DECADES, *TEN)),
    Series("subscribers", growing.deques, ("bare deque",), (*DECADES, *TEN)),
    Series("readers of one subscription", growing.readers, QUEUES, DECADES, TEN),
    Series("acks at once", growing.concurrent_acks, QUEUES, DECADES, TEN),
    Series("topics of one subscription", growing.topics, QUEUES, (*DECADES, *TEN)),
    Series("pending", growing.pending, QUEUES, (*DECADES, *TEN), (*HUNDRED, 1_000_000)),
    Series("bytes of a body", growing.bodies, QUEUES, BYTES, (10_000_000,)),
    Series("groups", growing.groups, QUEUES, (1, 10, 100)),
    Series("partitions", growing.partitions, ("kafka",), (1, 4, 16, 64)),
)


class Growth(msgspec.Struct):
    """What was found: microseconds of a message at each size, the least of the rounds."""

    what: str
    layer: str
    clock: str
    """Whose time: wall or cpu."""
    sizes: Sequence[int]
    costs: Sequence[float]

    @property
    def name(self) -> str:
        """By what it is asked for, and its file."""
        return f"{self.what}, {self.layer}"

    @property
    def steps(self) -> Sequence[float]:
        """By how much a message costs more than at the size before."""
        return [after / before for before, after in zip(self.costs, self.costs[1:], strict=False)]

    def show(self) -> str:
        """Return a line for each size, with the step to it."""
        lines = [f"{self.name} (microseconds for each, {self.clock})"]
        for size, cost, step in zip(self.sizes, self.costs, [1.0, *self.steps], strict=True):
            mark = "  a cliff" if step > STEP else ""
            lines.append(f"  {size:>12,}  {cost:>10.2f}  {step:>6.2f} x{mark}")
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write it as JSON into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        (folder / f"growth, {self.name}.json").write_bytes(text + b"\n")


def grown(
    series: Series, layer: str, rounds: int, clock: str, *, quick: bool, full: bool
) -> Growth:
    """Measure one series on a layer, each size in a process of its own."""
    sizes = series.sizes[:3] if quick else [*series.sizes, *(series.beyond if full else ())]
    costs: list[float] = []
    for size in sizes:
        found: list[float] = []
        for _ in range(rounds):
            with place(f"{layer}://") as url:
                found.append(_in_process(series, size, url)[clock])
        costs.append(min(found))
    return Growth(series.what, layer, clock, sizes, costs)


def draw(folder: Path) -> None:
    """Make one picture of all that was written into `folder`, by whichever runs."""
    panels: dict[str, dict[str, Points]] = {series.what: {} for series in SERIES}
    for path in sorted(folder.glob("growth, *.json")):
        found = msgspec.json.decode(path.read_bytes(), type=Growth)
        panels[found.what][found.layer] = [*zip(found.sizes, found.costs, strict=True)]
    (folder / PICTURE).write_text(picture({what: lines for what, lines in panels.items() if lines}))


def _in_process(series: Series, size: int, url: str) -> dict[str, float]:
    number = str(SERIES.index(series))
    command = [sys.executable, "-m", "benchmarks.growth", "--one", number, str(size), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{series.what}, {size} at {url}: {done.stderr[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, float])


def _asked_for(names: Sequence[str]) -> Iterable[tuple[Series, str]]:
    for series in SERIES:
        for layer in series.layers:
            if not names or any(map(f"{series.what}, {layer}".startswith, names)):
                yield series, layer


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="series, by how they begin")
    parser.add_argument("--quick", action="store_true", help="three sizes, one round")
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts")
    parser.add_argument("--cpu", action="store_const", const="cpu", default="wall", dest="clock")
    parser.add_argument("--full", action="store_true", help="the largest sizes too")
    parser.add_argument(
        "--json", type=Path, metavar="FOLDER", help="write the figures there, and a picture"
    )
    parser.add_argument("--one", nargs=3, metavar=("SERIES", "SIZE", "URL"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        number, size, url = asked.one
        clock = Clock()
        units = asyncio.run(_measured(SERIES[int(number)].measured, url, int(size), clock))
        print(json.dumps({"wall": 1e6 * clock.seconds / units, "cpu": 1e6 * clock.cpu / units}))
        return
    for series, layer in _asked_for(asked.names):
        rounds = 1 if asked.quick else asked.rounds
        found = grown(series, layer, rounds, asked.clock, quick=asked.quick, full=asked.full)
        print(found.show(), flush=True)
        if asked.json is not None:
            found.write(asked.json)
            draw(asked.json)


async def _measured(measured: Measured, url: str, size: int, clock: Clock) -> float:
    return await measured(url, size, clock)


if __name__ == "__main__":
    _main()
