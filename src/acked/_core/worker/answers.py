"""What a handler may say of a message: done, done with messages to publish, or a verdict."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from acked._core.ack.delivery import reason_of
from acked._core.options import checked_seconds
from acked._core.publish_options import PublishOptions
from acked.types import Topic

__all__ = (
    "Answer",
    "BatchAnswer",
    "HandlerVerdict",
    "Publish",
    "Reject",
    "Release",
    "Retry",
    "options_of",
)

T = TypeVar("T")


class Publish(msgspec.Struct, Generic[T], frozen=True):
    """A message with all that is its own: a handler returns it, `publish_many` takes several.

    What a handler returns is published before the message that it handled is acked. Without `id`
    its identity comes from that one and the group, so that what is handled twice publishes twice
    the same, which whoever reads it can tell.
    """

    topic: Topic[T] | str
    body: T
    key: str | None = None
    headers: Mapping[str, str] | None = None
    id: str | None = None


def options_of(message: Publish[Any], *, else_id: str | None = None) -> PublishOptions:
    """Return the options that `publish` has for `message`."""
    options = PublishOptions()
    if message.key is not None:
        options["key"] = message.key
    if message.headers is not None:
        options["headers"] = message.headers
    chosen = message.id or else_id
    if chosen is not None:
        options["id"] = chosen
    return options


class HandlerVerdict(Exception):
    """What a handler raises, or returns for a member of a batch, to settle it otherwise."""


class Retry(HandlerVerdict):
    """The message comes again: after `after` seconds, or by the worker's backoff.

    It is an attempt that failed: at the last one of `max_deliveries` it goes to the dead letters.
    `raise Retry(after=5) from error` tells them why.
    """

    def __init__(self, *, after: float | None = None) -> None:
        super().__init__("" if after is None else f"after {after:g} s")
        self.after: Final = None if after is None else checked_seconds("after", after, least=0.0)


class Reject(HandlerVerdict):
    """The message is given up at once, to the dead letters where there are any."""

    def __init__(self, reason: str | BaseException = "") -> None:
        super().__init__(str(reason_of(reason)))
        self.reason: Final = reason


class Release(HandlerVerdict):
    """The message comes again, to any consumer, and no attempt is charged; nothing is delayed."""


Answer = (
    Publish[Any]
    | Iterable[Publish[Any]]
    | None
    | Awaitable[Publish[Any] | Iterable[Publish[Any]] | None]
)
"""What a handler of single messages returns, or what it is awaited for."""

_OfOne = Publish[Any] | list[Publish[Any]] | HandlerVerdict | None
_OfBatch = Sequence[_OfOne] | None

BatchAnswer = _OfBatch | Awaitable[_OfBatch]
"""What a handler of batches returns: None is an ack for each, else there is one for each member."""
