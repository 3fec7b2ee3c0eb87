"""`ordered_by="key"`: who is asked for it, and who refuses."""

from collections.abc import Sequence

import msgspec
import pytest

from acked import CapabilityError, Channel, ConfigurationError, Start
from acked.conformance.fault_layer import FaultLayer
from acked.conformance.fault_plan import FaultPlan
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio


def unordered() -> MemoryQueueLayer:
    layer = MemoryQueueLayer()
    vars(layer)["capabilities"] = msgspec.structs.replace(layer.capabilities, key_order=False)
    return layer


def test_a_layer_that_cannot_says_so_and_names_those_that_can() -> None:
    channel = Channel(unordered())
    with pytest.raises(CapabilityError, match=r"sqlite-queue.*ordered_by=lambda"):
        channel.subscribe("t", group="g", ordered_by="key")


@pytest.mark.parametrize("by", ["id", lambda delivery: delivery.key])
def test_a_subscription_is_ordered_by_key_or_not_at_all(by: object) -> None:
    channel = Channel(MemoryQueueLayer())
    with pytest.raises(ConfigurationError, match=r"ordered_by=.*"):
        channel.subscribe("t", group="g", ordered_by=by)  # type: ignore[call-overload]


async def test_only_who_asks_joins_in_order() -> None:
    joined: list[str] = []

    class Noting(MemoryQueueLayer):
        def consume(self, topics: Sequence[str], group: str, **options: object):  # type: ignore[no-untyped-def, override]
            joined.append("consume")
            return super().consume(topics, group, **options)  # type: ignore[arg-type]

        def consume_in_key_order(self, topics: Sequence[str], group: str, /, **options: object):  # type: ignore[no-untyped-def, override]
            joined.append("in order")
            return super().consume_in_key_order(topics, group, **options)  # type: ignore[arg-type]

    async with Channel(Noting()) as channel:
        async with channel.subscribe("t", group="g"):
            assert joined == ["consume"]
        joined.clear()
        async with channel.subscribe("t", group="g", ordered_by="key"):
            assert joined[0] == "in order"


async def test_a_layer_that_fails_on_purpose_keeps_the_order() -> None:
    layer = FaultLayer(MemoryQueueLayer(), FaultPlan([]))
    async with layer:
        join = layer.consume_in_key_order
        async with (
            Channel(layer) as channel,
            join(["t"], "g", in_flight=9, lease=30.0, start=Start.EARLIEST) as feed,
        ):
            for body in range(3):
                await channel.publish("t", body, key="a")
            assert len(await feed.receive(9)) == 1
