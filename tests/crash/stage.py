"""The stage of a crash run: a broker behind a proxy, children that can be killed, their diaries."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from compose.fleet import create
from compose.lifecycle import Broker
from tests.crash.jobs import Job
from tests.fix_proxy import Proxy

ROOT = Path(__file__).resolve().parent.parent.parent


class RunError(Exception):
    """The run itself went wrong, beyond what it was to show."""


class Child:
    """A job in a process of its own."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.is_killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.jobs", msgspec.json.encode(job).decode()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Return when it is connected and subscribed."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RunError(f"a child did not begin: {self.job.role}, see its words above")

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def check(self) -> None:
        """Raise if it ended by itself."""
        if not self.is_killed and self._process.poll() is not None:
            raise RunError(f"a child ended: {self.job.role}, status {self._process.returncode}")

    def kill(self) -> None:
        """Kill it as a crash would."""
        self.is_killed = True
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Let it end; kill it if it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Diaries:
    """The children's diaries, read as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[int, str]] = {}

    def path(self, name: str) -> str:
        """Return where the diary `name` is kept."""
        return str(self._folder / name)

    def more(self, path: str) -> list[str]:
        """Return the whole lines that came since the last call."""
        offset, rest = self._read.get(path, (0, ""))
        if not Path(path).exists():
            return []
        with Path(path).open(encoding="ascii") as file:
            file.seek(offset)
            text = rest + file.read()
            offset = file.tell()
        *lines, rest = text.split("\n")
        self._read[path] = offset, rest
        return lines


class Stage:
    """A broker of our own behind a proxy, and the children. A context manager."""

    def __init__(self, broker: str | None, folder: Path) -> None:
        self.diaries = Diaries(folder)
        self.children: list[Child] = []
        self.proxy: Proxy | None = None
        self.broker: Broker | None = None
        self.done = {"restarts": 0, "cuts": 0, "kills": 0}
        self._started = time.monotonic()
        self._name = broker

    def __enter__(self) -> Self:
        if self._name is not None:
            self.broker = create(self._name)
            self.broker.start()
            route = self.broker.route
            self.proxy = Proxy(route.target, listen_port=route.listen, target_url=self.broker.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children:
            child.close()
        if self.proxy is not None:
            self.proxy.close()
        if self.broker is not None:
            self.broker.close()

    @property
    def seconds(self) -> float:
        """Seconds since the stage was made."""
        return time.monotonic() - self._started

    def url(self, scheme: str, query: str = "") -> str:
        """Return the URL of a layer on this broker, through the proxy."""
        if self.proxy is None:
            return f"{scheme}://"
        return f"{scheme}://{self.proxy.url.partition('://')[2].partition('?')[0]}{query}"

    def start(self, *jobs: Job) -> list[Child]:
        """Start a child for each of `jobs`, and return them once all are ready."""
        children = [Child(job) for job in jobs]
        self.children += children
        for child in children:
            child.wait_until_ready()
        return children

    def check(self) -> None:
        """Raise if a child ended that was not killed."""
        for child in self.children:
            child.check()

    def say(self, words: str) -> None:
        """Show progress on standard error."""
        print(f"{self.seconds:7.1f} s  {words}", file=sys.stderr, flush=True)

    def cut(self) -> None:
        """Cut every connection there is; wait until there is one."""
        assert self.proxy is not None
        self.proxy.wait_until(lambda now: now.open_connections > 0, 60)
        before = self.proxy.statistics().cut_connections
        self.proxy.cut()
        self.done["cuts"] += 1
        self.say(f"cut {self.proxy.statistics().cut_connections - before} connections")

    def restart(self, *, by_kill: bool) -> None:
        """Stop or kill the broker and start it again."""
        assert self.broker is not None
        if by_kill:
            self.broker.kill()
        else:
            self.broker.stop()
        self.broker.start()
        self.done["restarts"] += 1
        self.say(f"broker {'killed' if by_kill else 'stopped'} and started again")


Fault = Callable[[], None]


def spread(
    kinds: Sequence[tuple[int, Callable[[int], None]]], whole: int
) -> list[tuple[int, Fault]]:
    """Return when, in progress up to `whole`, each fault is due.

    `kinds` says of each kind how many, and what does it, given its number. Each kind is spread
    evenly, and no two kinds together: who is killed just after a restart holds nothing.
    """
    due = [
        (int(whole * (i + 0.35 + 0.1 * place) / count), partial(fault, i))
        for place, (count, fault) in enumerate(kinds)
        for i in range(count)
    ]
    return sorted(due, key=lambda one: one[0])
