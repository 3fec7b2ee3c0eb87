"""Leave nothing behind, however the test run ends.

A small process of its own holds the end of a pipe from the test run. When the run ends, be it by
return, Ctrl-C, SIGTERM or SIGKILL, the kernel closes the pipe, and the guardian ends the servers
it was told of and deletes their folders.

Not taken: `PR_SET_PDEATHSIG` binds a child to the *thread* that started it, and servers are
started and restarted from short-lived threads; it also leaves the folders. `atexit` and signal
handlers do not run at SIGKILL.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TypedDict

from compose.native.process import ServerProcess, wait_until

_ROOT = Path(__file__).resolve().parent.parent.parent


class Ward(TypedDict, total=False):
    """What is to be ended: a process, a folder, or whatever a command ends."""

    pid: int
    born: str
    end_signal: int
    folder: str
    command: list[str]


class Guardian:
    """The test run's end of the pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def watch(self, key: str, ward: Ward) -> None:
        """End `ward` when this process ends; a later call with the same key replaces it."""
        self._say({"key": key, "ward": ward})

    def forget(self, key: str) -> None:
        """Leave alone what was watched under `key`."""
        self._say({"key": key})

    def close(self) -> None:
        """End all that is still watched, and the guardian; wait ten seconds at most."""
        with self._lock:
            process, self._process = self._process, None
        # A forked child holds a copy of the pipe, and must not wait for its parent's end.
        if process is None or process.stdin is None or self._owner != os.getpid():
            return
        process.stdin.close()
        process.wait(10)

    def _say(self, order: dict[str, object]) -> None:
        with self._lock:
            process = self._process or self._begin()
            if process.stdin is not None:
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()

    def _begin(self) -> subprocess.Popen[str]:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", __name__],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        atexit.register(self.close)
        return self._process


GUARDIAN = Guardian()


def _end(ward: Ward) -> None:
    if "pid" in ward:
        process = ServerProcess(ward["pid"], ward.get("born", ""))
        process.send(signal.SIGCONT)
        process.send(signal.Signals(ward.get("end_signal", signal.SIGKILL)))
        if not process.wait(3):
            process.kill()
    if "command" in ward:
        subprocess.run(ward["command"], check=False, timeout=60)
    if "folder" in ward:
        delete(Path(ward["folder"]))


def delete(folder: Path) -> None:
    """Delete `folder`, patiently: a dying descendant may still write into it."""

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_gone, 3)


def main() -> None:
    """Take orders, one JSON object a line, until the pipe closes; then end what is left."""
    wards: dict[str, Ward] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "ward" in order:
            wards[order["key"]] = order["ward"]
        else:
            wards.pop(order["key"], None)
    for ward in wards.values():
        _end(ward)


if __name__ == "__main__":
    main()
