"""In memory, one message to 1 and to 100 subscribers, beside broadcaster and queues by hand.

Published is a struct, awaited one by one; each subscriber is a task that reads. The hand-written
loops hand over the object itself: one puts it into an `asyncio.Queue` for each subscriber, one into
a bounded deque with an event. They copy nothing, know no types, count no loss, and have no names.
broadcaster hands over text: bare, which is all it does by itself, and with the fields of the struct
in it as JSON, which is what its users do. Its queues have no bound.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from acked import Channel, Overflow, Topic
from acked.layers.memory import MemoryLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer

ROOM = 1024


async def _raced(work: Work, read: Awaitable[object], publish: Awaitable[object]) -> None:
    with work.clock.running():
        await asyncio.gather(read, publish)


def on_queues(subscribers: int) -> Callable[[Work], Awaitable[None]]:
    """Return the contender with an `asyncio.Queue` for each."""

    async def contender(work: Work) -> None:
        queues = [asyncio.Queue[Order](ROOM) for _ in range(subscribers)]
        bodies = orders(work.count // subscribers)

        async def publish() -> None:
            for body in bodies:
                for queue in queues:
                    await queue.put(body)

        async def read(queue: asyncio.Queue[Order]) -> None:
            for _ in bodies:
                await queue.get()

        await _raced(work, asyncio.gather(*map(read, queues)), publish())

    return contender


def on_deques(subscribers: int) -> Callable[[Work], Awaitable[None]]:
    """Return the contender with a bounded deque for each, read until it is empty."""

    async def contender(work: Work) -> None:
        waiting = [deque[Order](maxlen=ROOM) for _ in range(subscribers)]
        arrived = [asyncio.Event() for _ in range(subscribers)]
        bodies = orders(work.count // subscribers)

        async def publish() -> None:
            for number, body in enumerate(bodies, 1):
                for queue, event in zip(waiting, arrived, strict=True):
                    queue.append(body)
                    event.set()
                if number % (ROOM // 2) == 0:
                    await asyncio.sleep(0)

        async def read(number: int) -> None:
            queue, event, left = waiting[number], arrived[number], len(bodies)
            while left:
                await event.wait()
                event.clear()
                while queue:
                    queue.popleft()
                    left -= 1

        await _raced(work, asyncio.gather(*map(read, range(subscribers))), publish())

    return contender


def by_acked(subscribers: int) -> Callable[[Work], Awaitable[None]]:
    """Return the contender with a subscription for each."""

    async def contender(work: Work) -> None:
        topic, bodies = Topic(work.topic, Order), orders(work.count // subscribers)
        inside = asyncio.Semaphore(0)
        begun = asyncio.Event()

        async def read() -> None:
            async with channel.subscribe(
                topic, capacity=ROOM, overflow=Overflow.BLOCK
            ) as subscription:
                inside.release()
                await begun.wait()
                for _ in bodies:
                    await anext(subscription)

        async with Channel(MemoryLayer()) as channel:
            readers = [asyncio.create_task(read()) for _ in range(subscribers)]
            for _ in readers:
                await inside.acquire()
            begun.set()

            async def publish() -> None:
                for body in bodies:
                    await channel.publish(topic, body)

            await _raced(work, asyncio.gather(*readers), publish())

    return contender


def _contest(subscribers: int) -> Contest:
    queue, by_hand, ours = "asyncio.Queue", "bounded deque", "acked"
    text, json = "broadcaster, text", "broadcaster, JSON"
    return Contest(
        f"memory.{subscribers}",
        {
            queue: on_queues(subscribers),
            by_hand: on_deques(subscribers),
            ours: by_acked(subscribers),
            text: Peer("broadcaster", f"text-{subscribers}"),
            json: Peer("broadcaster", f"json-{subscribers}"),
        },
        {
            "acked / asyncio.Queue": (ours, queue),
            "acked / bounded deque": (ours, by_hand),
            "acked / broadcaster, text": (ours, text),
            "acked / broadcaster, JSON": (ours, json),
        },
        count=(100_000, 400_000),
    )


CONTESTS = (_contest(1), _contest(100))
