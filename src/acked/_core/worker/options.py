"""What a worker may be told, checked once, before anything is opened."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Required, cast

import msgspec

from acked._core.ack.delivery import Delivery
from acked._core.options import ConsumerOptions, checked_count, checked_seconds
from acked._machines.backoff import Backoff
from acked.errors import ConfigurationError

__all__ = ("BatchOptions", "ProcessOptions", "WorkerSettings", "split_options")

CONCURRENCY: Final = 32
IN_FLIGHT: Final = 256


class ProcessOptions(ConsumerOptions, total=False):
    """The options of `process`, beside those of `subscribe`; durations are seconds."""

    concurrency: int
    """The most handlers that run at a time (32; for batches 1)."""
    ordered_by: Literal["key"] | Callable[[Delivery[Any]], object] | None
    """What tells messages apart that may be handled at the same time: those of one key are handled
    one after the other. "key": in all processes of the group, as for `subscribe`, where the layer
    has `key_order`, and else in this one. A callable returns the key: in this process, of single
    messages. None is no order (None)."""
    timeout: float | None
    """How long a handler may take; then it is cancelled, and has failed (None)."""
    drain: float
    """How long handlers may go on once the worker is told to stop (30)."""
    retry: Mapping[type[Exception], Backoff]
    """The waits after a failure by its class, a subclass first; else those of `redelivery`."""


class BatchOptions(ProcessOptions, total=False):
    """The options of `process` where the handler gets batches."""

    batch: Required[int]
    """The most messages of a batch."""
    wait: float
    """How long a batch waits to be full, from its first message on (0.05)."""


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a worker; durations are seconds."""

    concurrency: int = CONCURRENCY
    ordered_by: Any = None
    timeout: float | None = None
    drain: float = 30.0
    retry: Mapping[type[Exception], Backoff] = {}
    batch: int | None = None
    wait: float = 0.05

    def __post_init__(self) -> None:
        checked_count("concurrency", self.concurrency)
        checked_seconds("drain", self.drain, least=0.0)
        checked_seconds("wait", self.wait, least=0.0)
        if self.timeout is not None:
            checked_seconds("timeout", self.timeout, above=0.0)
        if self.ordered_by not in (None, "key") and not callable(self.ordered_by):
            raise ConfigurationError(f"ordered_by={self.ordered_by!r}: 'key', a callable or None")
        for kind, backoff in cast("Mapping[object, object]", self.retry).items():
            is_kind = isinstance(kind, type) and issubclass(kind, Exception)
            if not is_kind or not isinstance(backoff, Backoff):
                raise ConfigurationError("retry= maps classes of exceptions to Backoff(...)")
        if self.batch is not None:
            checked_count("batch", self.batch)
            if self.ordered_by is not None:
                raise ConfigurationError(
                    "ordered_by= is for single messages; batches of concurrency=1 are in order"
                )


def split_options(given: dict[str, Any]) -> tuple[WorkerSettings, dict[str, Any]]:
    """Return the worker's own options, checked, and those of its subscription.

    Raises `ConfigurationError` for what cannot be, or cannot be together.
    """
    names = WorkerSettings.__struct_fields__
    own = {name: given[name] for name in names if name in given}
    rest = {name: option for name, option in given.items() if name not in own}
    if "wait" in own and "batch" not in own:
        raise ConfigurationError("wait= is for batches: give batch=, too")
    if own.get("batch") is not None:
        own.setdefault("concurrency", 1)
    settings = WorkerSettings(**own)
    least = settings.concurrency * (settings.batch or 1)
    in_flight = checked_count("in_flight", rest.setdefault("in_flight", max(IN_FLIGHT, least)))
    if in_flight < least:
        raise ConfigurationError(
            f"in_flight={in_flight} is fewer than the {least} messages that the handlers take at "
            "a time; give more, or less concurrency="
        )
    return settings, rest
