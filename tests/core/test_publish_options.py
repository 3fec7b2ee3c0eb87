"""What a publisher may say of when a message comes, and what is refused, with nothing published."""

from datetime import UTC, datetime
from typing import Any

import pytest

from acked import Channel
from acked.errors import CapabilityError, ConfigurationError
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - that is what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1.0}, "delay=-1.0"),
        ({"delay": True}, "delay=True"),
        ({"delay": float("inf")}, "delay=inf"),
        ({"delay": 1.0, "at": 5.0}, "give one of them"),
        ({"at": NAIVE}, "without a time zone"),
        ({"at": -1.0}, "at=-1.0"),
        ({"expires": 0.0}, "expires=0.0"),
        ({"expires": "soon"}, "expires='soon'"),
        ({"expires": 5.0, "delay": 5.0}, "not after its delay of 5 seconds"),
        ({"priority": -1}, "priority=-1"),
        ({"priority": 256}, "from 0 to 255"),
        ({"priority": 1.0}, "priority=1.0"),
        ({"priority": True}, "priority=True"),
        ({"priority": 1, "key": "k"}, "earlier ones of its key"),
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(options: dict[str, Any], words: str) -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(ConfigurationError, match=words):
            await channel.publish("t", 1, **options)
        async with channel.subscribe("t", group="g") as subscription:
            await channel.publish("t", 2)
            async with await anext(subscription) as delivery:
                assert delivery.body == 2


async def test_zero_is_no_delay_and_no_priority_and_a_key_may_stand_beside_it() -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1, delay=0.0, priority=0, key="k")
        async with channel.subscribe("t", group="g") as subscription:
            async with await anext(subscription) as delivery:
                assert (delivery.body, delivery.key) == (1, "k")


async def test_an_end_is_counted_from_now_also_where_the_delay_is_a_moment() -> None:
    later = datetime.now(UTC).timestamp() + 100
    async with Channel(MemoryQueueLayer()) as channel:
        await channel.publish("t", 1, at=later, expires=200.0)
        with pytest.raises(ConfigurationError, match="not after its delay"):
            await channel.publish("t", 1, at=later, expires=50.0)


@pytest.mark.parametrize("options", [{"delay": 1.0}, {"expires": 1.0}, {"priority": 1}])
async def test_news_have_none_of_them(options: dict[str, Any]) -> None:
    async with Channel(MemoryLayer()) as channel:
        with pytest.raises(CapabilityError):
            await channel.publish("t", 1, **options)
