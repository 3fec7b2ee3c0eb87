"""In memory, one message to 1 and to 100 subscribers, beside queues of asyncio written by hand.

Published is a struct, awaited one by one; each subscriber is a task that reads. The hand-written
loops hand over the object itself: one puts it into an `asyncio.Queue` for each subscriber, one into
a bounded deque with an event. They copy nothing, know no types, count no loss, and have no names.
What a user would pick instead is given text, and neither encodes nor decodes it.
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


QUEUE, DEQUE, ACKED = "asyncio.Queue", "bounded deque", "acked"
BROADCASTER = "broadcaster"
PEERS = (BROADCASTER, "litestar", "starlette_web")


def _contest(subscribers: int) -> Contest:
    return Contest(
        f"memory.{subscribers}",
        {
            QUEUE: on_queues(subscribers),
            DEQUE: on_deques(subscribers),
            ACKED: by_acked(subscribers),
            **{peer: Peer(peer, f"memory-{subscribers}") for peer in PEERS},
        },
        {f"acked / {other}": (ACKED, other) for other in (QUEUE, DEQUE, *PEERS)},
        count=(100_000, 400_000),
        fewer={"starlette_web": 20},
    )


CONTESTS = (_contest(1), _contest(100))
