"""The steps that laws about faults are made of: try again, and keep account of what is known."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import anyio

from acked import (
    AckSubscription,
    AckUnconfirmed,
    Channel,
    ConnectionLost,
    Delivery,
    LeaseLost,
    PublishFailed,
    Subscription,
)
from acked.abc import AckLayer
from acked.conformance.harness import Harness
from acked.conformance.laws.owed import all_that_is_owed
from acked.conformance.laws.steps import joined, opened, place, receive

__all__ = ("PATIENCE", "Account", "accepted_of", "goes_on_after", "published")

PATIENCE: Final = 30.0
"""Seconds within which a consumer goes on after what broke is whole again."""


class Account:
    """What is known of messages that are acked while connections break."""

    def __init__(self, channel: Channel[AckLayer]) -> None:
        self.acked: set[str] = set()
        """Ids: a body may have been published twice."""
        self.done: set[object] = set()
        """Bodies of what was acked, or may have been: nobody can tell."""
        self._is_confirmed = channel.layer.capabilities.confirmed_ack

    async def settle(self, delivery: Delivery[object]) -> None:
        """Ack `delivery`, again while the answer is missing; it must not have been acked before."""
        if self._is_confirmed:
            assert delivery.id not in self.acked, "an acked message came again"
        was_unconfirmed = False
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    await delivery.ack()
                except AckUnconfirmed:
                    was_unconfirmed = True
                    await anyio.sleep(0.05)
                except LeaseLost:
                    if was_unconfirmed:
                        self.done.add(delivery.body)
                    return
                else:
                    self.acked.add(delivery.id)
                    self.done.add(delivery.body)
                    return

    async def settle_until(
        self, subscription: Subscription[Delivery[object]], wanted: set[object]
    ) -> None:
        """Read and ack until all of `wanted` are done."""
        with anyio.fail_after(PATIENCE):
            while not wanted <= self.done:
                await self.settle(await anext(subscription))

    async def settle_all(
        self,
        channel: Channel[AckLayer],
        topic: str,
        subscription: AckSubscription[object],
    ) -> None:
        """Read and ack whatever is owed: what was acked before is not among it."""
        await all_that_is_owed(channel, topic, subscription, settle=self.settle, publish=published)


async def goes_on_after(harness: Harness, fault: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Read, ack and hold around `fault`; see the rest come, then and over a new channel."""
    async with place(harness) as (channel, topic, group):
        account = Account(channel)
        async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
            await channel.publish_many(topic, range(5))
            before = await receive(sub, 5)
            for delivery in before[:3]:
                await account.settle(delivery)
            assert account.done == {delivery.body for delivery in before[:3]}
            await fault()
            await published(channel, topic, 5)
            for delivery in before[3:]:
                await account.settle(delivery)
            await account.settle_until(sub, {*range(6)})
    async with (
        opened(harness) as channel,
        joined(channel, topic, group, lease=harness.lease) as sub,
    ):
        await account.settle_all(channel, topic, sub)


async def accepted_of(
    channel: Channel[AckLayer], topic: str, members: Sequence[object]
) -> set[object]:
    """Publish `members` at once and return those that were accepted, as we are told."""
    try:
        with anyio.fail_after(PATIENCE):
            await channel.publish_many(topic, members)
    except PublishFailed as failed:
        failures = set(failed.failures)
    except ConnectionLost:
        return set()
    else:
        return set(members)
    assert failures <= set(range(len(members)))
    return {member for number, member in enumerate(members) if number not in failures}


async def published(
    channel: Channel[AckLayer], topic: str, body: object, key: str | None = None
) -> None:
    """Publish `body`, again while the connection is broken: so it may be there twice."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                await channel.publish(topic, body, key=key)
            except (PublishFailed, ConnectionLost):
                await anyio.sleep(0.05)
            else:
                return
