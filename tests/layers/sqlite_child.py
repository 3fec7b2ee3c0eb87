"""A process that uses a queue file and is killed: `python sqlite_child.py ROLE PATH [LEASE]`.

Each line it prints is a JSON list: a word, and the ids that the word is about.
"""

import json
import os
import sys
from pathlib import Path

import anyio

from acked.abc import AckFeed
from acked.errors import LayerError
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue._file import QueueFile
from acked.types import Outcome, Record, Settlement, Start, Verb


def say(word: str, names: list[str]) -> None:
    print(json.dumps([word, names]), flush=True)


async def take(feed: AckFeed, limit: int) -> list[Settlement]:
    batch = await feed.receive(limit)
    say("claimed", [leased.record.id for leased in batch])
    return [Settlement(leased.token, Verb.ACK) for leased in batch]


async def drain(feed: AckFeed) -> None:
    """Claim and ack for ever, saying which acks were confirmed."""
    while True:
        batch = await feed.receive(20)
        names = [leased.record.id for leased in batch]
        say("claimed", names)
        outcomes = await feed.settle([Settlement(one.token, Verb.ACK) for one in batch])
        pairs = zip(names, outcomes, strict=True)
        say("acked", [name for name, one in pairs if one is Outcome.CONFIRMED])


async def publish(layer: SQLiteQueueLayer) -> None:
    """Publish for ever, saying what was accepted."""
    for turn in range(1_000_000):
        names = [f"{turn}.{part}" for part in range(10)]
        await layer.publish([Record("t", b"x" * 500, name) for name in names])
        say("accepted", names)


async def run(role: str, path: str, lease: float) -> None:
    async with SQLiteQueueLayer(path) as layer:
        if role == "publish":
            await publish(layer)
        async with layer.consume(
            ["t"], "g", in_flight=100, lease=lease, start=Start.EARLIEST
        ) as feed:
            say("ready", [])
            if role == "drain":
                await drain(feed)
            acks = await take(feed, 2)
            if role == "ack":
                say("settled", [outcome.name for outcome in await feed.settle(acks)])
            await anyio.sleep_forever()


def fork(path: Path) -> None:
    """Use, after a fork, the file of the parent, and then one of our own."""
    options = {"durability": "full", "busy_timeout": 5.0, "pause": lambda: None}
    file = QueueFile(path, **options)  # type: ignore[arg-type]
    file.open()
    if child := os.fork():
        os.waitpid(child, 0)
        say("parent", [str(file.version()[0])])
        file.close()
        return
    try:
        file.version()
    except LayerError as error:
        say("refused", [str(error)])
    own = QueueFile(path, **options)  # type: ignore[arg-type]
    own.open()
    say("own", [str(own.version()[0])])
    own.close()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "fork":
        fork(Path(sys.argv[2]))
    else:
        anyio.run(run, sys.argv[1], sys.argv[2], float(sys.argv[3]))
