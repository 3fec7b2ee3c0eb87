"""What a group is owed, found out without waiting for silence, in whatever order a layer keeps.

Sentinels are published to a reader that waits already: what was free before came before, where the
order is total. Where it is less, a volley of sentinels with keys of their own reaches every
partition; and it is fired again, since an order that is no order may hide something behind one.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio import wait_all_tasks_blocked

from acked import AckSubscription, Channel, Delivery, Start, Subscription, VirtualClock
from acked.abc import AckLayer
from acked.conformance.harness import Harness, fresh
from acked.conformance.law import soon
from acked.conformance.laws.steps import DAY, LONG, Place, ack_all, ordered, receive
from acked.types import Capabilities

__all__ = (
    "SENTINEL",
    "all_that_is_owed",
    "asleep",
    "in_claimed_order",
    "nothing_is_owed",
    "one_comes_after",
)

VOLLEY: Final = 24
"""Sentinels with keys of their own: of three partitions each gets several."""
VOLLEYS: Final = 3
PAGE: Final = 100
SENTINEL: Final = "sentinel"

Publish = Callable[[Channel[AckLayer], str, object, str | None], Coroutine[Any, Any, None]]


@asynccontextmanager
async def asleep(
    subscription: Subscription[Delivery[object]], count: int
) -> AsyncGenerator[list[Delivery[object]]]:
    """Enter when a reader waits for `count` deliveries; leave when it has got them, in the list."""
    got: list[Delivery[object]] = []

    async def read() -> None:
        for _ in range(count):
            got.extend(await receive(subscription, 1))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await everybody_waits()
        yield got


async def everybody_waits() -> None:
    """Return when every task waits for something."""
    # Longer than for an answer: there may be thousands of messages to hand out one by one.
    with anyio.fail_after(3 * soon()):
        await wait_all_tasks_blocked()


def in_claimed_order(can: Capabilities, got: Sequence[object], expected: Sequence[object]) -> bool:
    """Say whether `got` is `expected`, published without keys: in this order if that is total."""
    if can.order == "total":
        return list(got) == list(expected)
    return ordered(got) == ordered(expected)


async def all_that_is_owed(
    channel: Channel[AckLayer],
    topic: str,
    subscription: AckSubscription[object],
    *,
    settle: Callable[[Delivery[object]], Awaitable[None]] | None = None,
    publish: Publish | None = None,
) -> list[Delivery[object]]:
    """Return everything that the group is owed of `topic` now, settled, in order of arrival.

    Other calls' sentinels, which this group is owed too, are settled and left out.
    """
    can = channel.layer.capabilities
    total = can.order == "total"
    keys = [None] if total else [str(n) if can.keys else None for n in range(VOLLEY)]
    owed: list[Delivery[object]] = []
    own: set[object] = set()
    for _ in range(1 if total else VOLLEYS):
        sentinels = {fresh(SENTINEL): key for key in keys}

        own.update(sentinels)

        async def read(missing: set[str]) -> None:
            pages = subscription.batches(PAGE)
            with anyio.fail_after(2 * soon()):
                while missing:
                    page = await anext(pages)
                    await (page.ack() if settle is None else _each(page, settle))
                    for delivery in page:
                        if delivery.body in missing:
                            missing.remove(str(delivery.body))
                        elif delivery.body in own or SENTINEL not in str(delivery.body):
                            owed.append(delivery)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, set(sentinels))
            await everybody_waits()
            for body, key in sentinels.items():  # at once: one by one they take most of the time
                tasks.start_soon(publish or _publish, channel, topic, body, key)
    return owed


async def nothing_is_owed(
    channel: Channel[AckLayer], topic: str, group: str, *, lease: float = LONG
) -> None:
    """See that nothing comes but what is published now: what is settled does not come again."""
    async with channel.subscribe(topic, group=group, lease=lease, start=Start.EARLIEST) as sub:
        owed = await all_that_is_owed(channel, topic, sub)
    came = [delivery.body for delivery in owed]
    assert came == [], f"came although nothing is owed: {came[:10]}"


async def one_comes_after(harness: Harness, here: Place, delay: float) -> None:
    """See that what is delayed by `delay`, days in seconds, is not owed yet, and comes then.

    Where time is not virtual it is only seen not to come at once.
    """
    channel, topic, group = here
    await nothing_is_owed(channel, topic, group)
    if isinstance(harness.clock, VirtualClock):
        await harness.stall(delay - DAY / 2)
        await nothing_is_owed(channel, topic, group)
        await harness.stall(DAY / 2 + 1)
        async with channel.subscribe(topic, group=group, lease=LONG) as sub:
            await ack_all(await receive(sub, 1))


async def _each(
    page: Iterable[Delivery[object]], settle: Callable[[Delivery[object]], Awaitable[None]]
) -> None:
    for delivery in page:
        await settle(delivery)


async def _publish(channel: Channel[AckLayer], topic: str, body: object, key: str | None) -> None:
    await channel.publish(topic, body, key=key)
