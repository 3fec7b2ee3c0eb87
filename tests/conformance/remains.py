"""What brokers themselves say they keep, as the hook `kept` of a harness wants to know it."""

# pyright: reportPrivateUsage=false
# An oracle looks past the layer.

from acked.conformance.harness import Remains
from acked.layers.memory_queue import MemoryQueueLayer

__all__ = ("kept_in_memory",)


def kept_in_memory(layer: MemoryQueueLayer, topic: str, group: str) -> Remains:
    """Return what the broker inside `layer` keeps."""
    stored = layer._broker.topics.get(topic)
    queue = stored.groups.get(group) if stored is not None else None
    return Remains(
        messages=len(stored.kept) if stored is not None else 0,
        leases=queue.held if queue is not None else 0,
        consumers=queue.consumers if queue is not None else 0,
    )
