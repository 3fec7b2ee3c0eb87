"""What the workers of all libraries do with an order: the same, and it is written down here."""

import asyncio
import os
from pathlib import Path

FOLDER = Path(os.environ.get("KILL_FOLDER", "."))
URL = os.environ.get("KILL_URL", "redis://localhost")
IS_CAREFUL = os.environ.get("KILL_CAREFUL") == "1"
"""Whether what the library's documentation offers against losses is used."""
RECOVERY = 5
"""Seconds after which others may have what a worker held, where that can be said."""
AT_ONCE = 10
FAILS_EVERY = 10


async def handle(number: int) -> None:
    """Take a while; one order in ten fails once, as by a payment service that is away."""
    await asyncio.sleep(0.02)
    if number % FAILS_EVERY == 0 and _is_first(number):
        raise RuntimeError(f"order {number} failed")
    line = f"{number}\n".encode()
    file = os.open(FOLDER / "done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def _is_first(number: int) -> bool:
    try:
        (FOLDER / f"failed-{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
