"""Keeps a server and its folder for as long as the demo lives: both go when the demo does.

Started as `python -m acked.demo.guardian FOLDER COMMAND...`. A server cannot watch the demo by
itself, and must not outlive it even when the demo is killed.
"""

import shutil
import subprocess
import sys

from acked.demo.lifeline import on_parents_end

__all__ = ("main",)


def main(folder: str, command: list[str]) -> int:
    """Run `command` until standard input ends; return its exit status."""
    try:
        # The command is the demo's own.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:  # noqa: S603
            on_parents_end(server.kill)
            return server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
