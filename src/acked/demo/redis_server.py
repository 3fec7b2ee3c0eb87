"""A Redis for one run of the demo: private, real, and writing every order to disk."""

import shutil
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from acked.demo.failures import Broken, Refused
from acked.demo.lifeline import start_child

__all__ = ("private_redis",)

TRIES: Final = 3
"""Between choosing a free port and using it, another process may have taken it."""
START: Final = 10.0
"""Seconds that a server has to answer."""

# "Accepted" and "acked" mean what they mean to the embedded default: written and synced.
SETTINGS: Final = """\
bind 127.0.0.1
port {port}
dir "{folder}"
appendonly yes
appendfsync always
save ""
"""


@contextmanager
def private_redis(folder: Path) -> Generator[str]:
    """Start a server on a free port of this machine, give its address, and end it.

    Its files are in `folder`, which is removed with it.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise Refused(
            "there is no redis-server on this machine: install it (apt-get install redis-server, "
            "or brew install redis), name one that runs with --url, or leave --layer out"
        )
    server = RedisServer(program, folder)
    try:
        yield server.address
    finally:
        server.stop()


class RedisServer:
    """A running server and its guardian."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        for _ in range(TRIES):
            self._start(program)
            try:
                if self._answers():
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
        raise Broken(f"{program} does not start; try it by hand, or name another with --url")

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._guardian.communicate()  # closes its standard input, and waits
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, program: str) -> None:
        self._port = _free_port()
        self.address: str = f"127.0.0.1:{self._port}"
        self._folder.mkdir(exist_ok=True)
        settings = self._folder / "redis.conf"
        settings.write_text(SETTINGS.format(port=self._port, folder=self._folder))
        self._guardian = start_child(
            "acked.demo.guardian", str(self._folder), program, str(settings)
        )

    def _answers(self) -> bool:
        deadline = time.monotonic() + START
        while self._guardian.poll() is None and time.monotonic() < deadline:
            if _pings(self._port):
                return True
            time.sleep(0.02)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pings(port: int) -> bool:
    """Ask for a PONG, which a server that still starts refuses."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
