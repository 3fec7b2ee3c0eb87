"""Processes of servers: start, signal, look after; and the ports they listen on.

A process is known by its pid *and* its time of birth, since a pid is given to another process
sooner or later. Linux only: `/proc` tells both, and who descends from whom.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

# Below the range from which Linux takes the ports of outgoing connections: a client's socket
# must not sit on a stopped server's port when it is to be started again.
_PORTS = range(20_000, 32_000)
_POLL = 0.02


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback ports on which nothing listens."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


def wait_until(is_true: Callable[[], bool], timeout: float) -> bool:
    """Ask `is_true` every 20 ms for `timeout` seconds; return its last answer."""
    deadline = time.monotonic() + timeout
    while not (answer := is_true()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return answer


class _Entry(NamedTuple):
    """What `/proc/PID/stat` says of a process."""

    state: str
    parent: int
    born: str
    cpu: float


def _entry(pid: int) -> _Entry | None:
    return _entry_in(Path(f"/proc/{pid}"))


def _entry_in(folder: Path) -> _Entry | None:
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return None
    # The program's name stands in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    # Its own time and that of its children which it has waited for, in user and kernel mode.
    cpu = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return _Entry(state=fields[0], parent=int(fields[1]), born=fields[19], cpu=cpu)


def _is_frozen(pid: int) -> bool:
    """Whether no thread of process `pid` runs."""
    threads = Path(f"/proc/{pid}/task").glob("*")
    return all(entry.state in "TZX" for thread in threads if (entry := _entry_in(thread)))


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if entry := _entry(int(folder.name)):
            children.setdefault(entry.parent, []).append(int(folder.name))
    waiting = children.get(pid, [])
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children.get(child, [])


class ServerProcess:
    """A server's main process and its descendants."""

    def __init__(self, pid: int, born: str, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.born = born
        self._child = child

    @classmethod
    def spawn(cls, command: list[str], *, folder: Path, log_path: Path, user: str | None) -> Self:
        """Run `command` in `folder` as `user`, in a session of its own.

        A Ctrl-C at the terminal goes to the foreground session only: the test run decides when
        its servers end, not the terminal.
        """
        with log_path.open("ab") as log:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        entry = _entry(child.pid)
        return cls(child.pid, entry.born if entry else "", child)

    @property
    def is_alive(self) -> bool:
        """Whether the main process runs; one that ended but was not reaped does not."""
        if self._child is not None:
            return self._child.poll() is None
        entry = _entry(self.pid)
        return entry is not None and entry.born == self.born and entry.state != "Z"

    @property
    def cpu_seconds(self) -> float:
        """The processor time of the tree, that of its processes which have ended included."""
        entries = map(_entry, (self.pid, *_descendants(self.pid)))
        return sum(entry.cpu for entry in entries if entry)

    def send(self, number: signal.Signals) -> None:
        """Send `number` to the main process alone."""
        if self.is_alive:
            _send(self.pid, number)

    def send_to_tree(self, number: signal.Signals) -> list[int]:
        """Send `number` to the main process and all its descendants; return their pids.

        By pid, not by process group: every PostgreSQL backend makes a group of its own.
        """
        if not self.is_alive:
            return []
        pids = [self.pid, *_descendants(self.pid)]
        for pid in pids:
            _send(pid, number)
        return pids

    def freeze(self) -> bool:
        """Stop the tree until SIGCONT; return whether there was one to stop.

        A thread stops when the kernel looks at it next, on a busy machine much later than SIGSTOP
        was sent, and the others may answer meanwhile: wait for all.
        """
        pids = self.send_to_tree(signal.SIGSTOP)
        wait_until(lambda: all(map(_is_frozen, pids)), 5)
        return bool(pids)

    def kill(self) -> None:
        """Kill the tree and wait until all of it is gone."""
        born = {pid: entry.born for pid in _descendants(self.pid) if (entry := _entry(pid))}
        self.send_to_tree(signal.SIGKILL)
        self.wait(5)
        others = [ServerProcess(pid, when) for pid, when in born.items()]
        wait_until(lambda: not any(other.is_alive for other in others), 5)

    def wait(self, timeout: float) -> bool:
        """Wait for the main process to end; return whether it did within `timeout` seconds."""
        return wait_until(lambda: not self.is_alive, timeout)

    def release(self) -> None:
        """Let the process outlive this one, without a complaint about an unreaped child."""
        if self._child is not None:
            self._child.returncode = 0
            self._child = None


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
