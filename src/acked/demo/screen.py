"""What the demo shows while it runs, and in the end."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from acked.demo.scenario import Result

__all__ = ("Screen", "show_table")


class Screen:
    """Progress on standard error, always; the table where it is asked for."""

    def __init__(self, count: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._is_shown = False
        self._published = self._progress.add_task("published", total=count)
        self._acked = self._progress.add_task("acked", total=count)

    def __enter__(self) -> Self:
        return self  # the bars come with the first progress: until then there may be an error

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_shown:
            self._progress.stop()

    def show(self, *, published: int, acked: int) -> None:
        """Move the bars."""
        if not self._is_shown:
            self._is_shown = True
            self._progress.start()
        self._progress.update(self._published, completed=published)
        self._progress.update(self._acked, completed=acked)

    def say(self, words: str) -> None:
        """Print a line above the bars."""
        self._console.print(words, markup=False)


def show_table(result: Result, *, is_on_stderr: bool) -> None:
    """Print the result for people."""
    verdict, style = _verdict(result)
    table = Table(show_header=False, caption=verdict, caption_style=style, caption_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, number, meaning in _rows(result):
        table.add_row(name, number, meaning)
    Console(stderr=is_on_stderr).print(table)


def _rows(result: Result) -> Iterator[tuple[str, str, str]]:
    report, seconds = result.report, result.report.recovery_seconds
    yield "accepted", f"{report.accepted:,}", "orders that publish() returned a receipt for"
    yield "acked", f"{report.acked:,}", _acked_words(result)
    yield "redelivered", f"{report.redelivered:,}", "deliveries that were not an order's first"
    yield "duplicates seen", f"{report.duplicates:,}", "orders whose work was begun more than once"
    yield "lost", f"{report.lost:,}", "accepted, neither acked nor owed any more"
    if result.owed:
        yield "still owed", f"{result.owed:,}", "not acked, and delivered to whoever asks next"
    if result.poisons:
        yield (
            "dead letters",
            f"{report.dead_letters:,}",
            "a poison order kills its worker each time",
        )
    if report.innocent_dead_letters:
        innocent = f"{report.innocent_dead_letters:,}"
        yield "innocent", innocent, "dead letters that killed nobody"
    if result.broken_promises:
        yield "broken", f"{result.broken_promises:,}", "delivered again after ack() had returned"
    took = "nothing to recover" if seconds is None else f"{seconds:.2f} s"
    yield "time to recover", took, f"until others had the {result.recovered:,} it had in work"


def _verdict(result: Result) -> tuple[str, str]:
    if result.is_good:
        return "every accepted order was acked; nothing was lost", "green"
    if result.report.dead_letters != result.poisons or result.report.innocent_dead_letters:
        return "NOT the poison order alone is among the dead letters", "bold red"
    return "NOT every accepted order was acked once and for all", "bold red"


def _acked_words(result: Result) -> str:
    words = "orders whose ack() returned"
    if not result.unheard:
        return words
    return f"{words}, and {result.unheard:,} whose yes did not reach a worker"
