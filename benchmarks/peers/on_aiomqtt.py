"""aiomqtt: paho in asyncio, a session of MQTT 3.1.1 that is owed messages."""

import json
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clock import Work, play
from benchmarks.peers.reading import Countdown

SESSION = "aiomqtt"


async def drained(work: Work) -> None:
    """Iterate over the messages and decode each."""
    aiomqtt: Any = import_module("aiomqtt")
    address, countdown = urlsplit(work.url), Countdown(work)
    work.clock.begin()
    async with aiomqtt.Client(
        address.hostname,
        address.port,
        identifier=SESSION,
        clean_session=False,
        protocol=aiomqtt.ProtocolVersion.V311,
    ) as client:
        async for message in client.messages:
            json.loads(message.payload)
            countdown.passed()
            if countdown.over.is_set():
                break


WAYS = {"drain": drained}

if __name__ == "__main__":
    play(WAYS)
