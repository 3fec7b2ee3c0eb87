"""What every scenario needs: deadlines, and a last line of JSON that says what happened.

A scenario runs by two interpreters, so it uses nothing of `acked`, nor of the tests.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

PATIENCE = float(os.environ.get("STAGE_PATIENCE", "2"))
"""Seconds after which what did not happen counts as a hang; what happens takes milliseconds."""


async def outcome(what: Awaitable[Any], patience: float = PATIENCE) -> str:
    """Return "ok", "hangs", or the name of what was raised."""
    try:
        await asyncio.wait_for(what, patience)
    except TimeoutError:
        return "hangs"
    except BaseException as error:
        return type(error).__name__
    return "ok"


async def messages(subscriber: Any, count: int, patience: float = PATIENCE) -> list[Any]:
    """Return up to `count` messages, fewer if the next one takes longer than `patience`."""
    found: list[Any] = []
    while len(found) < count:
        try:
            event = await asyncio.wait_for(subscriber.get(), patience)
        except TimeoutError:
            break
        found.append(event.message)
    return found


async def make_topics(url: str, *names: str) -> None:
    """Make Kafka topics of one partition: the original waits for ever for one that is not there."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=urlsplit(url).netloc)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await admin.close()


def play(main: Callable[..., Coroutine[Any, Any, dict[str, Any]]], patience: float = 30.0) -> None:
    """Run `main` with the script's arguments; print what it returns, or how it ended."""

    async def bounded() -> dict[str, Any]:
        try:
            return await asyncio.wait_for(main(*sys.argv[1:]), patience)
        except TimeoutError:
            return {"outcome": "hangs"}
        except BaseException as error:
            return {"outcome": type(error).__name__, "words": str(error)}

    print(json.dumps(asyncio.run(bounded())))
