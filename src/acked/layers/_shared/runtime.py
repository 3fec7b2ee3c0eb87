"""In which process, on which loop: names of consumers, and loops that cannot be."""

import asyncio
import os
import socket
import uuid

import anyio.lowlevel

from acked.errors import CapabilityError

__all__ = ("consumer_name", "require_asyncio", "running_loop")


def consumer_name() -> str:
    """Return a name for one consumer of a group: readable, and never used twice."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def require_asyncio(client: str) -> None:
    """Raise `CapabilityError` unless asyncio runs, which is all that `client` is written for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise CapabilityError(
            f"{client} runs on asyncio only; start with anyio.run(main) or asyncio.run(main()), or "
            "choose a layer that runs on trio: memory, memory-queue, sqlite-queue or mqtt"
        ) from None


def running_loop() -> object:
    """Return what tells the event loop that runs from any other, of asyncio or trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return anyio.lowlevel.current_token()
