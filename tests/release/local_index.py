"""An index of packages on a loopback port, for as long as a rehearsal takes."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT = 30.0


def free_port() -> int:
    """Return a loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def local_index(folder: Path) -> Generator[str]:
    """Serve `folder`, to which may be uploaded, and yield its URL; nothing is asked elsewhere."""
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "pypiserver", "run", "--disable-fallback"]
    # No password: whoever reaches this port is on this machine, and it is gone in a minute.
    command += ["--authenticate", ".", "--passwords", ".", "--server", "wsgiref"]
    with subprocess.Popen(
        [*command, "--interface", "127.0.0.1", "--port", str(port), str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(server, url)
            yield url
        finally:
            server.terminate()


def wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when `url` answers; raise what is wrong when its server ended or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the local index does not answer at {url}: {error}") from error
            time.sleep(0.05)
        else:
            return
