"""What a run of the laws came to, as data: layer x law x verdict, to print and to write as JSON."""

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
from rich.console import Console
from rich.table import Table

from acked.conformance.law import Law

__all__ = ("Results", "Verdict", "read", "show", "verdict_of", "write")


class Verdict(enum.Enum):
    """What became of one law on one layer, from the worst to the least."""

    BROKEN = "broken"
    """It was tried, and does not hold."""
    HELD = "held"
    """It was tried, and holds."""
    REFUSED = "refused"
    """The layer does not claim the ability, and refuses it as it must."""
    NOT_TRIED = "not tried"
    """The harness lacks a hook that it needs."""
    NOT_CLAIMED = "not claimed"
    """The layer does not claim the ability, and there is nothing to refuse."""


_FROM_THE_WORST = tuple(Verdict)

Results: TypeAlias = dict[str, dict[str, Verdict]]
"""By the name of the layer's class and the id of the law."""


def verdict_of(law: Law, *, passed: bool, skipped: str | None) -> Verdict | None:
    """Return what one test says of its law; None if it does not apply to the layer."""
    if skipped is None:
        held = Verdict.REFUSED if law.unless else Verdict.HELD
        return held if passed else Verdict.BROKEN
    if "not claimed" in skipped:
        return Verdict.NOT_CLAIMED
    return Verdict.NOT_TRIED if "not tried" in skipped else None


def note(results: Results, layer: str, ids: Iterable[str], verdict: Verdict) -> None:
    """Note one test's verdict: of several tests of one law the worst verdict counts."""
    laws = results.setdefault(layer, {})
    for law in ids:
        laws[law] = min(laws.get(law, verdict), verdict, key=_FROM_THE_WORST.index)


def write(results: Results, path: Path) -> None:
    """Write `results` as JSON, sorted, so that a difference is a difference."""
    ordered = {layer: dict(sorted(results[layer].items(), key=_by_id)) for layer in sorted(results)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


def read(path: Path) -> Results:
    """Return the results written to `path`."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def show(results: Results) -> None:
    """Print a matrix: a row for each law, a column for each layer."""
    styles = {Verdict.BROKEN: "bold red", Verdict.HELD: "green", Verdict.REFUSED: "cyan"}
    table = Table("law", *results, title="laws of acked.conformance")
    for law in sorted({law for laws in results.values() for law in laws}, key=_number):
        found = (laws.get(law) for laws in results.values())
        table.add_row(law, *(_cell(one, styles) for one in found))
    Console().print(table)


def _cell(verdict: Verdict | None, styles: Mapping[Verdict, str]) -> str:
    if verdict is None:
        return ""
    style = styles.get(verdict, "dim")
    return f"[{style}]{verdict.value}[/{style}]"


def _by_id(item: tuple[str, Verdict]) -> tuple[str, int]:
    return _number(item[0])


def _number(law: str) -> tuple[str, int]:
    return law[:1], int(law[1:])
