"""broadcaster: text to whoever subscribes in one process, on queues that have no bound."""

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.clock import Work, tell, work_of


def text(number: int) -> dict[str, object]:
    """Return what is published: the fields of `benchmarks.orders`."""
    return {
        "id": number,
        "customer": f"customer-{number % 97}",
        "cents": 1999,
        "note": "x" * 100,
    }


async def fanned_out(
    work: Work, subscribers: int, encode: Callable[[Any], str], decode: Callable[[str], Any]
) -> None:
    """Publish one by one to so many, each a task that reads."""
    broadcast: Any = import_module("broadcaster").Broadcast("memory://")
    bodies = [text(number) for number in range(work.count // subscribers)]
    inside, begun = asyncio.Semaphore(0), asyncio.Event()

    async def read() -> None:
        async with broadcast.subscribe(channel=work.topic) as subscription:
            inside.release()
            await begun.wait()
            events: Any = aiter(subscription)
            for _ in bodies:
                decode((await anext(events)).message)

    async with broadcast:
        readers = [asyncio.create_task(read()) for _ in range(subscribers)]
        for _ in readers:
            await inside.acquire()
        begun.set()
        with work.clock.running():
            for body in bodies:
                await broadcast.publish(channel=work.topic, message=encode(body))
            await asyncio.gather(*readers)


def main() -> None:
    """Run: `on_broadcaster text-100 URL TOPIC COUNT`, or `json-100`."""
    kind, _, subscribers = sys.argv[1].partition("-")
    encode, decode = (str, str) if kind == "text" else (json.dumps, json.loads)

    async def contender(work: Work) -> None:
        await fanned_out(work, int(subscribers), encode, decode)

    tell(contender, work_of(sys.argv[2:]))


if __name__ == "__main__":
    main()
