"""Results of the whole table: what was run where and when, as JSON, and as a page to read."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import table
from benchmarks.peers import LIBRARIES, ROOT
from benchmarks.report import COLUMNS, Report, Round, median_of

__all__ = ("FOLDER", "Result")

FOLDER: Final = Path(__file__).parent / "results"
CLIENTS: Final = ("redis", "hiredis", "asyncpg", "aiokafka", "paho-mqtt", "anyio", "msgspec")
BUSY: Final = 0.5
"""A load for each core at which a machine is not called quiet."""
HOW: Final = """\
How it is measured and how to read it: [README](../README.md). Rates are messages a second, medians
of rounds. A ratio is the median of the ratios of two that ran side by side; `by CPU` is the other's
processor time over acked's, which neighbours on the machine disturb least."""


class Machine(msgspec.Struct, frozen=True):
    """Where it was run."""

    cores: int
    processor: str
    system: str
    python: str
    clients: dict[str, str]
    """The versions of what the loops by hand and acked use."""

    @classmethod
    def here(cls) -> "Machine":
        """Return this one."""
        told = re.search(r"^model name\s*: (.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
        processor = told[1] if told else platform.machine()
        system = f"{platform.system()} {platform.release()}"
        clients = {name: version(name) for name in CLIENTS}
        return cls(os.cpu_count() or 1, processor, system, platform.python_version(), clients)

    @property
    def slug(self) -> str:
        """Return a short name for files."""
        words = re.sub(r"\(.*?\)|@.*", "", self.processor).lower()
        return f"{self.cores}x-{re.sub(r'[^a-z0-9]+', '-', words).strip('-')}"


class Result(msgspec.Struct):
    """What was measured for the table in one go."""

    machine: Machine
    began: datetime
    commit: str
    load: float
    """The machine's load in the minute before: with one of more than nothing, not a quiet one."""
    is_quick: bool
    note: str = ""
    reports: dict[str, Report] = msgspec.field(default_factory=dict[str, Report])
    failed: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Contests that came to nothing, and why."""

    @classmethod
    def begun(cls, *, is_quick: bool, note: str) -> "Result":
        """Return one in which nothing was measured yet."""
        commit = ["git", "describe", "--always", "--dirty"]
        told = subprocess.run(commit, capture_output=True, text=True, check=False, cwd=ROOT)
        now = datetime.now(UTC).replace(microsecond=0)
        load = round(os.getloadavg()[0], 2)
        return cls(Machine.here(), now, told.stdout.strip(), load, is_quick, note)

    def write(self, folder: Path) -> Path:
        """Write it as JSON and as Markdown into `folder`, and return the page."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"{self.began:%Y-%m-%d}-{self.machine.slug}"
        text = msgspec.json.format(msgspec.json.encode(self), indent=1)
        stem.with_name(f"{stem.name}.json").write_bytes(text + b"\n")
        page = stem.with_name(f"{stem.name}.md")
        page.write_text(self.page())
        return page

    def page(self) -> str:
        """Return it as Markdown."""
        parts = [self._head(), table.lines(self.reports, self.failed), self._missing()]
        parts += [_contest(report) for report in self.reports.values()]
        parts.append(_promises())
        return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"

    def _head(self) -> Sequence[str]:
        machine, cores = self.machine, self.machine.cores
        is_quiet = self.load / cores < BUSY
        clients = ", ".join(f"{name} {found}" for name, found in machine.clients.items())
        words = "a quiet machine" if is_quiet else "**a loaded machine: rates mean little**"
        return [
            f"# Benchmarks of {self.began:%Y-%m-%d %H:%M} UTC, commit {self.commit}",
            "",
            f"{cores} cores, {machine.processor}, {machine.system}, Python {machine.python}.",
            f"{clients}.",
            f"The load was {self.load:g}: {words}.",
            *([self.note] if self.note else []),
            *(["`--quick`: fewer messages and rounds."] if self.is_quick else []),
            "",
            HOW,
        ]

    def _missing(self) -> Sequence[str]:
        words = [f"- {name}: {why}" for name, why in self.failed.items()]
        for report in self.reports.values():
            words += [f"- {report.name}, {name}: {why}" for name, why in report.missing.items()]
        return ["**Could not be measured:**", "", *words] if words else []


def _contest(report: Report) -> Sequence[str]:
    """Return all figures of one contest as a table."""
    head = ("contender", "median", "least", "most", *COLUMNS.values())
    lines = [
        f"## {report.name} ({', '.join(filter(None, (report.unit, report.broker)))})",
        "",
        f"| {' | '.join(head)} |",
        "|" + " --- |" * len(head),
    ]
    for name, rounds in report.rounds.items():
        rates = [one.rate for one in rounds]
        cells = [f"{report.rate(name):,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}"]
        lines.append(f"| {' | '.join((name, *cells, *_costs(rounds)))} |")
    return lines


def _costs(rounds: list[Round]) -> Sequence[str]:
    found = [median_of(rounds, column) for column in COLUMNS]
    return ["" if one is None else f"{one:,.2f}" for one in found]


def _promises() -> Sequence[str]:
    lines = [f"- {' '.join(one.wanted)}: {one.promise}" for one in LIBRARIES.values()]
    return ["## What the peers promise, as they are measured", "", *lines]


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""
