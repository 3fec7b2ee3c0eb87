"""The options of the laws, for pytest; loaded in every run where `acked` is installed.

It stands outside the package so that a run without these options imports nothing of it.

```console
$ pytest --acked-layer redis-streams://localhost        # the laws on one layer
$ pytest tests --acked-results conformance.json         # the laws among your own tests
```
"""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("acked", "laws for layers of acked")
    group.addoption("--acked-layer", metavar="URL", help="try the laws on the layer of this URL")
    group.addoption(
        "--acked-results", metavar="FILE", type=Path, help="write the verdicts there as JSON"
    )
    group.addoption(
        "--acked-require-all", action="store_true", help="fail if a law was not tried for a hook"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the laws if one of the options asks for them."""
    if any(map(config.getoption, ("--acked-layer", "--acked-results", "--acked-require-all"))):
        from acked.conformance.plugin import Laws  # noqa: PLC0415 - not in every run of pytest

        config.pluginmanager.register(Laws(config), "acked-laws")
