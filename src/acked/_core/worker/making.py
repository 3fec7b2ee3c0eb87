"""From what `process` was given to a worker that can run; all is checked before anything opens."""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec.structs import replace

from acked._core.ack.subscription import AckSubscription
from acked._core.options import Redelivery
from acked._core.worker.calling import Handler
from acked._core.worker.options import split_options
from acked._core.worker.settling import AnswerSettler
from acked._core.worker.worker import Worker
from acked.abc import AckLayer
from acked.types import Topic

__all__ = ("worker",)


class Subscribes(Protocol):
    """What a worker needs of a channel."""

    @property
    def layer(self) -> AckLayer:
        """The layer."""
        ...

    async def publish(self, topic: Topic[Any] | str, body: object, **options: Any) -> object:
        """Publish one message."""
        ...

    def subscribe(self, *topics: Topic[Any] | str, **options: Any) -> AckSubscription[Any]:
        """Return a subscription."""
        ...


def worker(
    channel: Any, topic: Topic[Any] | str, handler: Callable[[Any], object], options: dict[str, Any]
) -> Worker:
    """Return a worker of `channel` for `topic`; nothing happens before it runs.

    Raises `ConfigurationError` and `CapabilityError` for what cannot be.
    """
    using: Subscribes = channel  # its overloads are for users
    settings, subscribing = split_options(options)
    if settings.ordered_by == "key" and using.layer.capabilities.key_order:
        settings = replace(settings, ordered_by=None)  # the layer sees to it, in all processes
        subscribing["ordered_by"] = "key"
    called = Handler(handler, settings.concurrency)
    subscription = using.subscribe(topic, **subscribing)
    settler = AnswerSettler(
        using.publish,
        using.layer.capabilities,
        settings,
        subscribing.get("redelivery", Redelivery()),
        subscribing["group"],
    )
    return Worker(subscription, called, settings, settler)
