"""A served chat, and a real browser to sit before it."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, async_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("ACKED_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"

# No sandbox: the tests may run as root. The rest keeps it from talking to anybody but the chat.
QUIETLY = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    """Debian's Chromium, headless; missing, it is a skip, or an error where CI requires it."""
    if not Path(CHROMIUM).exists():
        reason = "no chromium here: `apt-get install chromium`, or set ACKED_CHROMIUM"
        (pytest.fail if "chromium" in os.environ.get("ACKED_REQUIRE", "") else pytest.skip)(reason)
    assert asyncio.get_running_loop()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield browser
        await browser.close()
