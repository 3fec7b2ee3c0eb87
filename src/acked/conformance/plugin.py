"""What pytest does for `--acked-layer` and `--acked-results`: choose laws, keep verdicts."""

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar, Final

import pytest

from acked import CapabilityError, Channel, ConfigurationError
from acked.abc import Layer
from acked.conformance import verdicts
from acked.conformance.harness import Harness
from acked.conformance.law import law_of

__all__ = ("Laws",)

SUITE: Final = "acked.conformance._suite"


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
        Laws.chosen_url = config.getoption("--acked-layer")
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
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note what a law came to."""
        report = yield
        law = law_of(getattr(item, "function", None))
        harness: object = getattr(item, "funcargs", {}).get("harness")
        if law is not None and isinstance(harness, Harness) and report.when == "call":
            reason = str(report.longrepr) if report.skipped else None
            verdict = verdicts.verdict_of(law, passed=report.passed, skipped=reason)
            if verdict is not None:
                layer = type(harness.layer()).__name__
                verdicts.note(self._results, layer, law.ids, verdict)
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the matrix of a layer that was named, and write what is to be written."""
        if Laws.chosen_url is not None and self._results:
            terminalreporter.section("laws")
            verdicts.show(self._results)
        if self._file is not None:
            verdicts.write(self._results, self._file)
