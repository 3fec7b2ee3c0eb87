"""A served chat."""

import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import anyio
import pytest

ROOT = Path(__file__).parents[2]


class Server:
    """`python -m docs.examples.chat` as a child process."""

    def __init__(self, url: str, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "docs.examples.chat", "--url", url]
        self._command += ["--port", str(self.port), *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=ROOT)

    async def answers(self) -> None:
        """Return when the chat can be reached."""
        with anyio.fail_after(30):
            while True:
                assert self.process.poll() is None, "the chat ended by itself"
                try:
                    stream = await anyio.connect_tcp("127.0.0.1", self.port)
                except OSError:
                    await anyio.sleep(0.05)
                else:
                    await stream.aclose()
                    return

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture
def serve() -> Generator[Callable[..., Server]]:
    """A factory of served chats over the layer of a URL."""
    made: list[Server] = []

    def make(url: str, *options: str) -> Server:
        made.append(Server(url, *options))
        return made[-1]

    yield make
    for server in made:
        server.stop()
