"""Which handler consumes which topic, noted where the handler is written."""

from collections.abc import Awaitable, Callable
from datetime import datetime, tzinfo
from typing import Any, Generic, Protocol, Self, TypeVar, Unpack, overload

import msgspec

from acked._app.scheduler import Scheduled
from acked._app.schedules import schedule_of
from acked._core.ack.delivery import Delivery
from acked._core.worker.answers import Answer, BatchAnswer, Publish
from acked._core.worker.options import BatchOptions, ProcessOptions
from acked.types import Topic

__all__ = ("Consuming", "Registration", "Router")

T = TypeVar("T")
A = TypeVar("A", bound=Answer)
B = TypeVar("B", bound=BatchAnswer)
S = TypeVar("S", bound=Callable[[datetime], Publish[Any] | Awaitable[Publish[Any] | None] | None])


class Consuming(msgspec.Struct, frozen=True):
    """A handler, and what it is called for."""

    topic: Topic[Any]
    handler: Callable[[Any], object]
    options: dict[str, Any]


class Registration(Generic[T]):
    """The decorator for a handler; to a type checker, for one of single messages."""

    def __init__(self, consumers: list[Consuming], topic: Topic[T], options: Any) -> None:
        self._consumers = consumers
        self._topic = topic
        self._options = dict[str, Any](options)

    @overload
    def __call__(self, handler: Callable[[Delivery[T]], A], /) -> Callable[[Delivery[T]], A]: ...
    @overload
    def __call__(self, handler: Callable[[T], A], /) -> Callable[[T], A]: ...
    def __call__(self, handler: Callable[[Any], Any], /) -> Callable[[Any], Any]:
        """Note `handler`, and return it as it is."""
        self._consumers.append(Consuming(self._topic, handler, self._options))
        return handler


class BatchRegistration(Protocol[T]):
    """What a `Registration` is to a type checker, where the handler is one of batches."""

    @overload
    def __call__(
        self, handler: Callable[[list[Delivery[T]]], B], /
    ) -> Callable[[list[Delivery[T]]], B]: ...
    @overload
    def __call__(self, handler: Callable[[list[T]], B], /) -> Callable[[list[T]], B]: ...


class Router:
    """Consumers and schedules of one module, for an `App` to include."""

    def __init__(self) -> None:
        self._consumers: list[Consuming] = []
        self._scheduled: list[Scheduled] = []

    @overload
    def consumer(self, topic: Topic[T], **options: Unpack[ProcessOptions]) -> Registration[T]: ...
    @overload
    def consumer(
        self, topic: Topic[T], **options: Unpack[BatchOptions]
    ) -> BatchRegistration[T]: ...
    def consumer(self, topic: Topic[Any], **options: Any) -> Any:
        """Return a decorator: the handler consumes `topic`, as `Channel.process` has it."""
        return Registration[Any](self._consumers, topic, options)

    def every(
        self, when: str | float, *, zone: tzinfo | str | None = None, name: str | None = None
    ) -> Callable[[S], S]:
        """Return a decorator: what the function returns is published whenever it is due.

        `when` is a cron expression in `zone`, UTC if you name none (`pip install "acked[cron]"`),
        or so many seconds, of which multiples since the epoch are due. The function, async or
        plain, is called in each process of the fleet with the moment at which it is due, and
        returns `Publish(...)`, or None for nothing; *one* is published. Work belongs into the
        consumer of that. What was due while no process ran is published late, once for all of it.
        `name` is what it is known by in the broker: module and name of the function without.
        """
        schedule = schedule_of(when, zone)

        def note(function: S) -> S:
            known_as = name or f"{function.__module__}.{function.__qualname__}"
            self._scheduled.append(Scheduled(known_as, schedule, function))
            return function

        return note

    def include(self, router: "Router") -> Self:
        """Take over the consumers and schedules of `router` that it has by now."""
        self._consumers.extend(router._consumers)  # noqa: SLF001 - its own class
        self._scheduled.extend(router._scheduled)  # noqa: SLF001
        return self
