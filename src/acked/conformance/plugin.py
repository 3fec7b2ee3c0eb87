"""What pytest does for `--acked-layer` and `--acked-results`: choose laws, keep verdicts."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import ClassVar, Final

import pytest

from acked import CapabilityError, Channel, ConfigurationError
from acked.abc import Layer
from acked.conformance import verdicts
from acked.conformance.harness import Harness
from acked.conformance.law import law_of, take_remarks

__all__ = ("URL", "Laws")

SUITE: Final = "acked.conformance._suite"
URL: Final = "ACKED_URL"
"""In the environment: what `--acked-layer -` stands for, and never on a command line."""


def layer_of(url: str) -> Layer:
    """Return the layer of `url`, of either kind; raise `ConfigurationError` if there is none."""
    try:
        return Channel.from_url(url).layer
    except CapabilityError:
        return Channel.from_url(url, fire_and_forget=True).layer


class Laws:
    """Hooks of one run of pytest."""

    chosen_url: ClassVar[str | None] = None
    """The layer of `--acked-layer`, for the suite, which is imported when it is collected."""

    def __init__(self, config: pytest.Config) -> None:
        self._results: verdicts.Results = {}
        self._file: Path | None = config.getoption("--acked-results")
        self._require_all = bool(config.getoption("--acked-require-all"))
        self._not_tried: dict[str, list[str]] = {}
        """The laws that were not tried, by the reason."""
        self._remarks: list[str] = []
        Laws.chosen_url = config.getoption("--acked-layer")
        if Laws.chosen_url == "-":
            Laws.chosen_url = os.environ.get(URL)
        if Laws.chosen_url is None:
            return
        try:
            layer_of(Laws.chosen_url)
        except ConfigurationError as error:
            raise pytest.UsageError(f"--acked-layer: {error}") from error
        config.option.pyargs = True
        if config.args_source is pytest.Config.ArgsSource.ARGS:
            config.args.append(SUITE)  # beside what was asked for
        else:
            config.args[:] = [SUITE]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note what a law came to."""
        report = yield
        law = law_of(getattr(item, "function", None))
        harness: object = getattr(item, "funcargs", {}).get("harness")
        if law is not None and isinstance(harness, Harness) and report.when == "call":
            reason = str(call.excinfo.value) if report.skipped and call.excinfo else None
            self._remarks += [f"{item.name}: {words}" for words in take_remarks()]
            verdict = verdicts.verdict_of(law, passed=report.passed, skipped=reason)
            if verdict is not None:
                layer = type(harness.layer()).__name__
                verdicts.note(self._results, layer, law.ids, verdict)
            if verdict is verdicts.Verdict.NOT_TRIED:
                self._not_tried.setdefault(str(reason), []).append(item.name)
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the run fail where a law was not tried, if all are required."""
        if self._require_all and self._not_tried and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the matrix of a layer that was named, and write what is to be written."""
        if self._results and (Laws.chosen_url is not None or self._require_all):
            terminalreporter.section("laws")
            if Laws.chosen_url is not None:
                verdicts.show(self._results)
            for words in self._remarks:
                terminalreporter.line(words)
            for reason, names in self._not_tried.items():
                terminalreporter.line(f"{reason}: {', '.join(names)}", red=self._require_all)
        if self._file is not None:
            verdicts.write(self._results, self._file)
