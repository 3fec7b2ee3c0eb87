"""`python -m tests.broken_layers [--json] [--full] [--seeds N]`: the kill matrix."""

import sys
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

from tests.broken_layers import CATALOGUE
from tests.broken_layers.catalogue import HEALTHY
from tests.broken_layers.matrix import Matrix, chosen, matrix, tried
from tests.broken_layers.plugin import Tried

__all__ = ("main",)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("--full", is_flag=True, help="Try every law on every broken layer.")
@click.option("--seeds", default=0, help="Only try the healthy layers, with so many seeds.")
@click.option("--only", multiple=True, type=click.Choice(sorted(CATALOGUE)), help="Only these.")
def main(*, as_json: bool, full: bool, seeds: int, only: Sequence[str]) -> None:
    """Try the laws on layers that have one bug each, and print which laws find it.

    Exits with 0 if each is found by the law that is meant for it, and the healthy layers keep all.
    """
    if seeds:
        sys.exit(try_healthy(seeds))
    names = only or tuple(CATALOGUE)
    healthy: dict[str, Sequence[str]] = dict.fromkeys(HEALTHY, ())
    tests = healthy | {name: () if full else chosen(CATALOGUE[name]) for name in names}
    results = tried(tests)
    found = matrix(results)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        show(found, results)
    alarms = false_alarms(results)
    for alarm in alarms:
        click.echo(f"false alarm: {alarm.test}: {alarm.words}", err=True)
    sys.exit(0 if found.killed == len(names) and not alarms else 1)


def try_healthy(seeds: int) -> int:
    """Try all laws on the healthy layers with seeds from 1 on; return the exit status."""
    alarms = 0
    for seed in range(1, seeds + 1):
        results = tried(dict.fromkeys(HEALTHY, ()), seed=seed)
        failed = false_alarms(results)
        alarms += len(failed)
        for one in failed:
            click.echo(f"seed {seed}: {one.test}: {one.words}", err=True)
    click.echo(msgspec.json.encode({"seeds": seeds, "false_alarms": alarms}).decode())
    return 1 if alarms else 0


def false_alarms(results: Sequence[Tried]) -> list[Tried]:
    """Return the laws that failed on a healthy layer."""
    return [one for one in results if one.layer in HEALTHY and one.outcome == "failed"]


def show(found: Matrix, results: Sequence[Tried]) -> None:
    """Print a row for each broken layer: its story, who killed it, and with what words."""
    words = {(one.layer, one.test): one.words for one in results}
    table = Table("layer", "story", "killed by", "and by", title="broken layers")
    for name, tests in found.by.items():
        one = CATALOGUE[name]
        by = f"[green]{', '.join(one.ids)}[/green] {one.law}"
        if one.law in tests:
            by += f"\n[dim]{words[name, one.law][-160:]}[/dim]"
        others = ", ".join(test for test in tests if test != one.law)
        table.add_row(name, one.story, by if one.law in tests else f"[red]not[/red] {by}", others)
    Console().print(table)
    Console().print(f"{found.killed} of {found.broken} killed by the law that is meant for it")


if __name__ == "__main__":
    main()
