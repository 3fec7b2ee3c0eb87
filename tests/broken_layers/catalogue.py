"""What a broken layer is, and the list of all of them."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from acked.abc import Clock
from acked.conformance.law import law_of
from acked.conformance.laws.ack import AckLayerLaws
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from tests.broken_layers.planted import Broadcast, Queue

__all__ = ("CATALOGUE", "HEALTHY", "Broken", "broken")

HEALTHY: Final = ("healthy", "healthy-connected")
"""The names of layers without a bug: the second one's leases are connections."""

Plantable = Queue | Broadcast
C = TypeVar("C", bound=type[Plantable])


class Broken(msgspec.Struct, frozen=True):
    """One plausible bug: a layer that has it, and the law that is meant to find it."""

    name: str
    story: str
    law: str
    """The name of the test."""
    layer: type[Plantable]

    @property
    def suite(self) -> type[AckLayerLaws | FireAndForgetLaws]:
        """The laws that this layer is to keep."""
        return AckLayerLaws if issubclass(self.layer, MemoryQueueLayer) else FireAndForgetLaws

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the law."""
        law = law_of(getattr(self.suite, self.law, None))
        assert law is not None, f"{self.law} is no law of {self.suite.__name__}"
        return law.ids

    def make(self, clock: Clock) -> MemoryQueueLayer | MemoryLayer:
        """Return a new layer that has the bug."""
        return self.layer(clock=clock) if issubclass(self.layer, Queue) else self.layer()


CATALOGUE: Final[dict[str, Broken]] = {}
"""All broken layers by their names."""


def broken(law: str) -> Callable[[C], C]:
    """Put the class beneath into the catalogue: its docstring is the story, `law` is to kill it."""

    def enter(layer: C) -> C:
        assert layer.__name__ not in CATALOGUE, f"there are two layers called {layer.__name__}"
        story = (layer.__doc__ or "").partition("\n")[0]
        CATALOGUE[layer.__name__] = Broken(layer.__name__, story, law, layer)
        return layer

    return enter
