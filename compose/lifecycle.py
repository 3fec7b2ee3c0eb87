"""What a broker can be asked to do, however it runs.

Three kinds share `Broker`: a private process (`compose.native.server`), a container
(`compose.docker`), and a server that somebody else runs (`compose.external`).
"""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

NAMES = tuple(sorted(file.parent.name for file in Path(__file__).parent.glob("*/recipe.py")))
FURTHER = {
    file.parent.name: file.parent.parent.name
    for file in Path(__file__).parent.glob("*/*/recipe.py")
}
"""Other servers that speak as one of `NAMES` does, and which that is: tests start their own."""
"""The brokers there are; see `compose.catalogue`."""


class BrokerError(Exception):
    """Say in one line what was wrong, what was tried, and what to do."""


class BrokerUnavailableError(BrokerError):
    """The broker cannot be had on this machine as it is."""


class Route(NamedTuple):
    """How a proxy gets between a client and a broker.

    `target` is the port the proxy forwards to, `listen` the one it must listen on: 0 is any.
    Kafka prescribes it, since its clients go on to the address the broker advertises.
    """

    target: int
    listen: int


class Broker(ABC):
    """A broker on a loopback port that tests may stop, kill and pause.

    Not started by its making. Every method blocks until it took effect, and may be called from
    any thread, by one caller at a time. As a context manager it starts, and closes at the end.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients, with the password when the server asks for one."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The server's version, as its program or image tells it."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the server's process is alive; a paused one is."""

    @property
    def log_path(self) -> Path | None:
        """The file the server logs to, or None where another keeps the log."""
        return None

    @property
    def cpu_seconds(self) -> float | None:
        """The processor time that the server has had, or None where this cannot be told."""
        return None

    @property
    def route(self) -> Route:
        """Where a proxy forwards to, and where it must listen."""
        return Route(self.port, 0)

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until it answers; a no-op when it runs.

        The same port and data folder as before are used.

        Raises:
            BrokerUnavailableError: its program is not installed.
            BrokerError: it did not start; the message names the log's telling line.

        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the server gracefully, by force after ten seconds; the data stays."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the server as a crash would (SIGKILL); the data stays."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""

    @abstractmethod
    def close(self) -> None:
        """End the server and delete its data; nothing is left. A no-op the second time."""

    def restart(self) -> None:
        """Stop gracefully and start again on the same port and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at 127.0.0.1:{self.port}>"
