"""The steps that laws for fire-and-forget layers are made of, each bounded."""

from collections.abc import Sequence
from typing import Any, Final

import anyio

from acked import FireAndForgetSubscription, Message
from acked.conformance.laws.steps import soon

__all__ = ("FEW", "SEVERAL", "accounted", "bodies_of", "hear", "hear_all")

SEVERAL: Final = 50
FEW: Final = 4


async def hear(subscription: FireAndForgetSubscription[Any], count: int) -> list[Message[Any]]:
    """Return the next `count` messages; `TimeoutError` where they do not come soon."""
    with anyio.fail_after(soon()):
        return [await anext(subscription) for _ in range(count)]


async def hear_all(
    subscription: FireAndForgetSubscription[Any], last: object
) -> list[Message[Any]]:
    """Return the messages up to the one whose body is `last`."""
    heard: list[Message[Any]] = []
    with anyio.fail_after(soon()):
        async for message in subscription:
            heard.append(message)
            if message.body == last:
                break
    return heard


async def accounted(subscription: FireAndForgetSubscription[Any], count: int) -> None:
    """Return when `count` messages have arrived or are told as missed; fail if never."""
    with anyio.fail_after(soon()):
        while True:
            seen = subscription.statistics()
            if seen.delivered + seen.buffered + seen.missed >= count:
                return
            await anyio.sleep(0.001)


def bodies_of(messages: Sequence[Message[Any]]) -> list[Any]:
    """Return what was heard, in the order of arrival."""
    return [message.body for message in messages]
