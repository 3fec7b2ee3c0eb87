"""The laws on a layer that can do little: what it cannot do, it must refuse."""

import msgspec
import pytest

from acked.clocks import VirtualClock
from acked.conformance import AckLayerLaws, VirtualHarness
from acked.layers.memory_queue import MemoryQueueLayer

LITTLE = {
    **dict.fromkeys(("nack", "nack_delay", "reject", "dead_letter", "extend", "release"), False),
    **dict.fromkeys(("attempts", "replay", "headers", "keys", "key_order"), False),
    "out_of_order_ack": False,
    "order_after_nack": False,
    "max_payload": 4096,
    "topic_pattern": r"[a-z0-9._-]+",
}


def poor_layer(clock: VirtualClock) -> MemoryQueueLayer:
    """Return a memory queue that claims little: the engine must refuse the rest."""
    layer = MemoryQueueLayer(clock=clock)
    layer.capabilities = msgspec.structs.replace(layer.capabilities, **LITTLE)
    return layer


class TestPoorLayer(AckLayerLaws):
    @pytest.fixture
    def harness(self) -> VirtualHarness:
        return VirtualHarness(poor_layer)
