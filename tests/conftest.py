"""What every test has: the brokers' fixtures, its marks, asyncio as the loop, and a look at what stays."""

import signal
import threading
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.fix_marks",
    "tests.fix_brokers",
    "tests.fix_proxy",
    "tests.fix_browser",
]

# Where the run was started in the background, SIGINT is ignored, and children would inherit that:
# tests that interrupt one need it as a terminal leaves it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take as long as the machine's other work lets it: a hang ends by pytest's timeout.
settings.register_profile("rooms", deadline=None)
settings.load_profile("rooms")

GUARDIAN = "compose.native.guardian"
"""The process that ends the brokers when the run ends, and so must outlive the last test."""


@pytest.fixture
def anyio_backend() -> str:
    """The loop of async tests; folders whose tests must hold on trio too override it."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Fail the run if a process or a thread outlives the last test."""
    yield
    children = [one.cmdline() for one in psutil.Process().children(recursive=True)]
    processes = [words for words in children if GUARDIAN not in words]
    threads = [one for one in threading.enumerate() if not one.daemon]
    assert not processes, f"still running after the last test: {processes}"
    assert threads == [threading.main_thread()], f"still running after the last test: {threads}"
