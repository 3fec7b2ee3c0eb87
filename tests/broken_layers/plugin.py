"""What pytest does for the matrix: choose laws, bound each of them, write what became of it."""

import os
import signal
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

__all__ = ("Job", "Tried")

JOB: Final = "ACKED_BROKEN_JOB"
"""The variable that says where the job is."""
BACKSTOP: Final = 30
"""Seconds after which a law that hangs, which is a defect of the law, is ended."""


class Job(msgspec.Struct):
    """Which laws to try on which layers, and where to write the answers."""

    tests: dict[str, list[str]]
    """The names of tests, by the names of layers; an empty list: all of them."""
    answers: str


class Tried(msgspec.Struct):
    """What became of one law on one layer."""

    layer: str
    test: str
    outcome: str
    seconds: float
    words: str = ""


def job() -> Job:
    """Return the job of this process."""
    return msgspec.json.decode(Path(os.environ[JOB]).read_bytes(), type=Job)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what is asked for, the tests of one layer side by side."""
    tests = job().tests
    place = {name: number for number, name in enumerate(tests)}
    chosen = [item for item in items if _is_wanted(item, tests)]
    items[:] = sorted(chosen, key=lambda item: place[_layer(item)])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """End a law that hangs where no cancellation helps."""

    def end(*_: object) -> None:
        raise TimeoutError(f"{item.name} hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(BACKSTOP)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write what became of a law."""
    report = yield
    if report.when == "call":
        words = str(getattr(report.longrepr, "reprcrash", "") or "").partition("\n")[0]
        tried = Tried(_layer(item), _law(item), report.outcome, report.duration, words)
        with Path(job().answers).open("ab") as file:
            file.write(msgspec.json.encode(tried) + b"\n")
    return report


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if isinstance(item, pytest.Function) else {}


def _layer(item: pytest.Item) -> str:
    return str(_parameters(item)["harness"])


def _law(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return item.originalname


def _is_wanted(item: pytest.Item, tests: Mapping[str, Sequence[str]]) -> bool:
    wanted = tests.get(_layer(item))
    return wanted is not None and (not wanted or _law(item) in wanted)
