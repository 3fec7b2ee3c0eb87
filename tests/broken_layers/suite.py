"""The laws on every broken layer, and on the healthy ones they are made from; see `plugin`."""

from functools import partial
from typing import Final

import pytest

from acked.abc import Clock, Layer
from acked.conformance.harness import Harness, Remains, VirtualHarness
from acked.conformance.laws.ack import AckLayerLaws
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from tests.broken_layers import CATALOGUE
from tests.broken_layers.catalogue import HEALTHY
from tests.broken_layers.planted import Broadcast, ConnectedQueue, Queue
from tests.conformance.clocks import wrong_clock
from tests.conformance.remains import kept_in_memory

__all__ = ("TestBroadcast", "TestQueue")

HEALTHY_QUEUES: Final[dict[str, type[Queue]]] = dict(
    zip(HEALTHY, (Queue, ConnectedQueue), strict=True)
)
"""The layers without a bug."""


class QueueHarness(VirtualHarness):
    """A queue that may be broken: what does not happen soon does not happen."""

    soon = 2.0
    limit = 15.0
    examples = 60

    def __init__(self, name: str) -> None:
        super().__init__(lambda clock: self._made(name, clock))
        self.refuse = self._refuse
        self.kept = self._kept
        self.set_clock = wrong_clock
        layer = self.layer()
        if isinstance(layer, Queue):
            self.fall_back = layer.fall_back
            self.busy = partial(layer.saying_no, may_pass=True)
            self.forbid = partial(layer.saying_no, may_pass=False)
        if isinstance(layer, ConnectedQueue):
            self.end_leases = layer.end_leases

    async def _refuse(self, topic: str) -> None:
        layer = self.layer()
        assert isinstance(layer, Queue)
        await layer.refuse(topic)

    async def _kept(self, topic: str, group: str) -> Remains:
        layer = self.layer()
        assert isinstance(layer, Queue)
        return kept_in_memory(layer, topic, group)

    def _made(self, name: str, clock: Clock) -> Layer:
        healthy = HEALTHY_QUEUES.get(name)
        return healthy(clock=clock) if healthy else CATALOGUE[name].make(clock)


class BroadcastHarness(Harness):
    """A fire-and-forget layer that may be broken."""

    soon = 2.0
    limit = 15.0
    shares_layer = True

    def __init__(self, name: str) -> None:
        made = Broadcast() if name in HEALTHY else CATALOGUE[name].make(self.clock)
        assert isinstance(made, Broadcast)
        self._layer = made
        self.cut = made.cut

    def layer(self) -> Layer:
        """Return the one layer."""
        return self._layer


def _named(suite: type) -> list[str]:
    return [*HEALTHY, *(name for name, one in CATALOGUE.items() if one.suite is suite)]


class TestQueue(AckLayerLaws):
    """What a queue promises."""

    @pytest.fixture(params=_named(AckLayerLaws))
    def harness(self, request: pytest.FixtureRequest) -> QueueHarness:
        """Return a harness for one of them."""
        return QueueHarness(request.param)


class TestBroadcast(FireAndForgetLaws):
    """What a fire-and-forget layer promises."""

    @pytest.fixture(params=_named(FireAndForgetLaws))
    def harness(self, request: pytest.FixtureRequest) -> BroadcastHarness:
        """Return a harness for one of them."""
        return BroadcastHarness(request.param)
