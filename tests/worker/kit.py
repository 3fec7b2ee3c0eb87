"""What tests of workers share."""

from collections.abc import Awaitable

import anyio
import anyio.from_thread

from acked import Backoff, Channel, Redelivery, Topic
from acked.abc import AckLayer


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
