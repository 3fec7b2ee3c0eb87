"""The steps that laws are made of, each bounded: a broken layer fails and never hangs."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple, cast

import anyio

from acked import (
    AckSubscription,
    Channel,
    ConnectionLost,
    DecodeError,
    Delivery,
    NoSubscribers,
    PublishFailed,
    Start,
    Subscription,
)
from acked.abc import AckFeed, AckLayer
from acked.conformance.harness import Harness
from acked.conformance.law import soon
from acked.types import Leased

__all__ = (
    "DAY",
    "JSON",
    "LONG",
    "Place",
    "ack_all",
    "bodies",
    "introduce",
    "joined",
    "lease",
    "one_good_and_one_bad",
    "opened",
    "ordered",
    "place",
    "prefetch",
    "publish_perhaps_to_nobody",
    "receive",
    "receive_bytes",
    "receive_while_passes",
    "received_when",
    "silent",
    "soon",
)

DAY: Final = 86_400.0
JSON: Final = "application/json"
LONG: Final = 60.0
"""A lease that does not end while a law is tried."""


class Place(NamedTuple):
    """An open channel, and a topic with a group that nobody else uses."""

    channel: Channel[AckLayer]
    topic: str
    group: str


def opened(harness: Harness) -> Channel[AckLayer]:
    """Return a channel over a layer of the harness, to be entered."""
    return cast("Channel[AckLayer]", harness.channel())


@asynccontextmanager
async def place(harness: Harness) -> AsyncGenerator[Place]:
    """Open a channel; whatever is published to its topic is owed to the group from now on."""
    topic, group = harness.topic(), harness.group()
    async with opened(harness) as channel:
        if not channel.layer.capabilities.replay:
            await introduce(channel, topic, group=group)
        yield Place(channel, topic, group)


async def introduce(channel: Channel[AckLayer], *topics: str, group: str) -> None:
    """Let `group` exist, so that it is owed what is published from now on."""
    async with channel.subscribe(*topics, group=group):
        pass


async def publish_perhaps_to_nobody(
    channel: Channel[AckLayer], topic: str, bodies: Sequence[object]
) -> None:
    """Publish where no group may be subscribed: a layer may take it, or say so."""
    try:
        await channel.publish_many(topic, bodies)
    except PublishFailed as error:
        for why in error.failures.values():
            if not isinstance(why, NoSubscribers):
                raise


async def receive(
    subscription: Subscription[Delivery[object]], count: int
) -> list[Delivery[object]]:
    """Return the next `count` deliveries; `TimeoutError` where they do not come soon."""
    with anyio.fail_after(soon()):
        return [await anext(subscription) for _ in range(count)]


async def receive_while_passes(
    harness: Harness, seconds: float, subscription: Subscription[Delivery[object]], count: int
) -> list[Delivery[object]]:
    """Let `seconds` pass and return the next `count` deliveries, for which somebody waits."""
    got: list[Delivery[object]] = []

    async def read() -> None:
        got.extend(await receive(subscription, count))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await harness.pass_time(seconds)
    return got


async def received_when(
    harness: Harness, seconds: float, subscription: Subscription[Delivery[object]]
) -> tuple[Delivery[object], float]:
    """Let `seconds` pass and return the next delivery, and the moment at which it came."""
    got: list[tuple[Delivery[object], float]] = []

    async def read() -> None:
        (delivery,) = await receive(subscription, 1)
        got.append((delivery, harness.clock.time()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await harness.pass_time(seconds)
    return got[0]


async def prefetch(subscription: AckSubscription[object], count: int) -> None:
    """Have `count` messages, all that are ready, fetched and seen by nobody.

    For a moment: what nobody sees is given back after a second.
    """

    async def gather() -> None:
        await anext(subscription.batches(count + 1, wait=LONG))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gather)
        with anyio.fail_after(soon()):
            while subscription.statistics().buffered < count:
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()


async def one_good_and_one_bad(
    subscription: Subscription[Delivery[object]],
) -> tuple[Delivery[object], DecodeError]:
    """Return the next delivery, and the error of the next body that does not decode."""
    good: list[Delivery[object]] = []
    bad: list[DecodeError] = []
    for _ in range(2):
        try:
            good += await receive(subscription, 1)
        except DecodeError as error:
            bad.append(error)
    assert (len(good), len(bad)) == (1, 1), "one body decodes and the other does not"
    return good[0], bad[0]


def silent(here: Place, harness: Harness, in_flight: int) -> AbstractAsyncContextManager[AckFeed]:
    """Return a consumer that nobody renews anything for, as if its process had died."""
    return here.channel.layer.consume(
        [here.topic], here.group, in_flight=in_flight, lease=harness.lease, start=Start.EARLIEST
    )


async def lease(feed: AckFeed, count: int) -> list[Leased]:
    """Return `count` messages leased by a consumer that neither renews nor settles them."""
    held: list[Leased] = []
    with anyio.fail_after(soon()):
        while len(held) < count:
            held.extend(await feed.receive(count - len(held)))
    return held


async def ack_all(deliveries: Sequence[Delivery[object]]) -> None:
    """Ack each of `deliveries`."""
    for delivery in deliveries:
        await delivery.ack()


def bodies(deliveries: Sequence[Delivery[object]]) -> list[object]:
    """Return what was delivered, sorted."""
    return ordered(delivery.body for delivery in deliveries)


def ordered(several: Iterable[object]) -> list[object]:
    """Return `several` sorted, by type first: bodies may be of several."""
    return sorted(several, key=lambda one: (type(one).__name__, one))


async def receive_bytes(subscription: Subscription[Delivery[bytes]], count: int) -> list[bytes]:
    """Return the bodies of the next `count` deliveries, acked, in order of arrival."""
    with anyio.fail_after(soon()):
        deliveries = [await anext(subscription) for _ in range(count)]
    for delivery in deliveries:
        await delivery.ack()
    return [delivery.body for delivery in deliveries]


@asynccontextmanager
async def joined(
    channel: Channel[AckLayer], topic: str, group: str, *, lease: float = LONG
) -> AsyncGenerator[AckSubscription[object]]:
    """Subscribe, again while the connection is broken."""
    give_up = anyio.current_time() + 3 * soon()
    async with AsyncExitStack() as stack:
        while True:
            subscription = channel.subscribe(topic, group=group, lease=lease)
            try:
                await stack.enter_async_context(subscription)
                break
            except ConnectionLost:
                if anyio.current_time() > give_up:
                    raise
                await anyio.sleep(0.05)
        yield subscription
