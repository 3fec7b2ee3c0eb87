"""Nothing is left: by the command line's `down`, nor after a test run that was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from compose import lifecycle, state
from compose.catalogue import recipe_for
from compose.fleet import chosen_kind
from compose.native.process import wait_until
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("redis", "postgres", "mqtt")

pytestmark = [getattr(pytest.mark, name) for name in NAMES]


@pytest.fixture(autouse=True)
def native_programs() -> None:
    if chosen_kind() != "native":
        pytest.skip("brokers run in containers here")
    for name in NAMES:
        or_skip(name, recipe_for(name).version)


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state file of this test's own, so that the developer's own brokers are not seen."""
    monkeypatch.setenv("ACKED_CACHE", str(tmp_path))
    yield
    brokers("down", *NAMES)


def brokers(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "compose" / "brokers.py"), *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process ended; in a container without an init nobody may have reaped it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_down_leaves_no_process_and_no_folder(own_state: None) -> None:
    started = brokers("up", *NAMES)
    assert started.returncode == 0, started.stderr
    assert brokers("status", *NAMES).returncode == 0

    running = [one for one in state.load().values() if isinstance(one, NativeBroker)]
    mains = [psutil.Process(one.pid) for one in running]
    trees = [process for main in mains for process in [main, *main.children(recursive=True)]]
    folders = [one.folder for one in running if one.folder is not None]
    assert len(mains) == len(folders) == len(NAMES)
    assert started.stdout.splitlines() == [
        f"ACKED_TEST_{one.name.upper()}_URL={one.url}" for one in running
    ]

    assert brokers("down", *NAMES).returncode == 0
    assert [process for process in trees if not is_gone(process)] == []
    assert [folder for folder in folders if folder.exists()] == []
    assert not state.state_path().exists()
    assert brokers("status", *NAMES).returncode == 1


def test_a_misspelt_name_is_one_clear_line() -> None:
    done = brokers("up", "rediss")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        f"no broker is called 'rediss': there are {', '.join(lifecycle.NAMES)}"
    )


_RUN = """
import sys
from threading import Thread
from compose.fleet import create
broker = create(sys.argv[1])
starter = Thread(target=broker.start)  # its end must not be the broker's
starter.start()
starter.join()
print(broker.pid, broker.folder, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_broker_ends_with_the_run_that_started_it(name: str, ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        server = psutil.Process(int(pid))
        tree = [server, *server.children(recursive=True)]
        run.send_signal(ending)
        run.wait(20)
    assert wait_until(lambda: all(is_gone(process) for process in tree), 10)
    assert wait_until(lambda: not Path(folder).exists(), 10)
