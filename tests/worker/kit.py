"""What tests of workers share."""

from collections.abc import Awaitable
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from acked import Backoff, Channel, Redelivery, Topic
from acked.abc import AckLayer

SCHEMES = {"redis": "redis-streams", "postgres": "postgres-queue", "kafka": "kafka", "mqtt": "mqtt"}
"""By broker, the scheme of the ack-capable layer over it."""


def url_of(layer: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a layer over a file in `folder`, or over the tests' own broker."""
    if layer == "sqlite":
        return f"sqlite-queue:///{folder}/queue.db"
    broker = request.getfixturevalue(f"{layer}_broker")
    options = "?create_topics=1" if layer == "kafka" else ""
    return f"{SCHEMES[layer]}://{broker.url.partition('://')[2]}{options}"


def DEAD_AFTER_THREE(topic: Topic[int]) -> Redelivery:
    """Three deliveries, quickly one after the other; then there is a letter."""
    at_once = Backoff(initial=0)
    return Redelivery(max_deliveries=3, dead_letter=f"{topic.name}-dead", backoff=at_once)


class Until:
    """Tells a worker to stop once so many messages were seen."""

    def __init__(self, count: int) -> None:
        self.seen: list[int] = []
        self._count = count
        self._scope = anyio.CancelScope()

    def saw(self, body: int) -> None:
        self.seen.append(body)
        if len(self.seen) == self._count:
            self._scope.cancel()

    def saw_in_thread(self, body: int) -> None:
        anyio.from_thread.run_sync(self.saw, body)

    async def ends(self, working: Awaitable[None]) -> None:
        """Run `working` until then."""
        with anyio.fail_after(30):
            with self._scope:
                await working
        assert self._scope.cancelled_caught, "the worker ended by itself"


async def letters(
    channel: Channel[AckLayer], topic: Topic[int], count: int
) -> dict[int, tuple[str, str]]:
    """Return the reason and the attempt of `count` dead letters, by their bodies."""
    found = {}
    with anyio.fail_after(10):
        async with channel.subscribe(Topic(f"{topic.name}-dead", int), group="reader") as dead:
            for _ in range(count):
                letter = await anext(dead)
                headers = letter.headers
                found[letter.body] = (headers["acked-reason"], headers["acked-attempt"])
                await letter.ack()
    return found


async def nothing_is_owed(channel: Channel[AckLayer], topic: Topic[int]) -> None:
    """Fail unless a message published now is the next that the group gets."""
    await channel.publish(topic, 4711)
    with anyio.fail_after(10):
        async with channel.subscribe(topic, group="g") as sub:
            delivery = await anext(sub)
            assert (delivery.body, delivery.attempt) == (4711, 1)
            await delivery.ack()


async def attempts_until(
    channel: Channel[AckLayer], jobs: Topic[int], wanted: set[int]
) -> dict[int, int]:
    """Return the attempt of each message that is read until all of `wanted` are there."""
    seen: dict[int, int] = {}
    with anyio.fail_after(20):
        async with channel.subscribe(jobs, group="g") as sub:
            async for batch in sub.batches(250):
                seen |= {one.body: one.attempt for one in batch}
                await batch.ack()
                if wanted <= seen.keys():
                    break
    return seen
