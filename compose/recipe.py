"""What is peculiar to one kind of server: where it is found, how it starts, when it is ready."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from compose.lifecycle import BrokerError, BrokerUnavailableError, Route

CONFIGURATION = Path(__file__).resolve().parent
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


@dataclass
class Site:
    """Where one server lives: its folder, and its ports, the one for clients first."""

    folder: Path
    ports: list[int]
    log_start: int = field(default=0, kw_only=True)

    @property
    def port(self) -> int:
        """The port for clients."""
        return self.ports[0]

    @property
    def log_path(self) -> Path:
        """The file the server logs to, over all its starts."""
        return self.folder / "server.log"

    def log(self) -> str:
        """Return what the server logged since its present start."""
        with self.log_path.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")


class Recipe(Protocol):
    """How `NativeBroker` runs one kind of server. Called by one thread at a time."""

    name: ClassVar[str]
    default_port: ClassVar[int]
    """Where a server listens whose URL names no port."""
    port_count: ClassVar[int]
    stop_signal: ClassVar[signal.Signals]
    """Asks for a graceful stop that keeps everything."""
    end_signal: ClassVar[signal.Signals]
    """The quickest end that leaves nothing outside the folder."""

    def version(self) -> str:
        """Return the installed version; raise `BrokerUnavailableError` when there is none."""
        ...

    def missing(self) -> list[str]:
        """Return Debian's packages that must be installed before it can run."""
        ...

    def account(self) -> str | None:
        """Return the account the server runs under, or None for the present one."""
        ...

    def prepare(self, site: Site) -> None:
        """Fill a new folder; called once for each."""
        ...

    def command(self, site: Site) -> list[str]:
        """Return the command that runs the server in the foreground."""
        ...

    def is_ready(self, site: Site) -> bool:
        """Return whether the server serves clients; asked every 20 ms after a start."""
        ...

    def url(self, site: Site) -> str:
        """Return the address for clients."""
        ...

    def route(self, site: Site) -> Route:
        """Return where a proxy forwards to and listens."""
        ...


@runtime_checkable
class Fetches(Protocol):
    """A recipe that needs more than packages."""

    def fetch(self) -> list[str]:
        """Fetch it where it is missing, once its packages are there; return what was fetched."""
        ...


def unless_found(find: Callable[[], object], package: str) -> list[str]:
    """Return `package`, unless `find` finds what it holds."""
    try:
        find()
    except BrokerUnavailableError:
        return [package]
    return []


def program(name: str, broker: str, *folders: Path) -> str:
    """Return the path of program `name`, looked for in `folders`, then where programs are."""
    path = os.pathsep.join([*map(str, folders), _PATH])
    found = shutil.which(name, path=path)
    if found is None:
        raise BrokerUnavailableError(
            f"{broker}: the program {name} is not installed (looked in {path}):"
            f" run `python compose/brokers.py install {broker}`"
        )
    return found


def run(command: list[str], *, doing: str, user: str | None = None, timeout: float = 60) -> str:
    """Run `command` to its end and return what it printed.

    Raises:
        BrokerError: it failed; `doing` says in the message what it was for.

    """
    try:
        done = subprocess.run(
            command,
            check=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
    except subprocess.CalledProcessError as error:
        words = telling_line(error.stdout.decode(errors="replace"))
        raise BrokerError(f"{doing} failed with exit code {error.returncode}: {words}") from None
    except subprocess.TimeoutExpired:
        raise BrokerError(f"{doing} did not end within {timeout:.0f} s: {command[0]}") from None
    return done.stdout.decode(errors="replace")


def telling_line(log: str) -> str:
    """Return the line of `log` that most likely names the cause: the first error, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (errors[0] if errors else lines[-1] if lines else "it said nothing")[:300]


def ask(port: int, question: bytes) -> bytes:
    """Send `question` to a loopback port and return the start of the answer, empty for none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(question)
            return link.recv(512)
    except OSError:
        return b""


def account_instead_of_root(name: str) -> str | None:
    """Return account `name` when this is root and it exists, for servers that refuse root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        return None
