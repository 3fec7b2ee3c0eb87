"""How a handler is called: with what, and where."""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast, get_args, get_origin

import anyio
from anyio.to_thread import run_sync

from acked._core.ack.delivery import Delivery
from acked.errors import ConfigurationError

__all__ = ("Handler",)

_NAMED: Final = re.compile(r"\bDelivery\b")


class Handler:
    """A handler of the user's: an `async def`, or a plain function, which gets a thread.

    Its first parameter decides what it is given: deliveries where the annotation has `Delivery`
    in it, bodies else.
    """

    def __init__(self, handler: Callable[[Any], object], concurrency: int) -> None:
        parameter = _first_parameter(handler)
        self.name: Final = getattr(handler, "__qualname__", type(handler).__name__)
        self._handler = handler
        self._takes_deliveries = _has_delivery(parameter)
        self._is_async = _is_async(handler)
        self._concurrency = concurrency
        self._threads: anyio.CapacityLimiter | None = None

    async def one(self, delivery: Delivery[Any]) -> object:
        """Return what the handler says of `delivery`."""
        return await self.call(delivery if self._takes_deliveries else delivery.body)

    async def several(self, batch: Sequence[Delivery[Any]]) -> object:
        """Return what the handler says of `batch`."""
        return await self.call(list(batch) if self._takes_deliveries else [d.body for d in batch])

    async def call(self, given: object) -> object:
        """Return what the handler says of `given`."""
        if self._is_async:
            return await cast("Any", self._handler)(given)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._concurrency)
        answer = await run_sync(
            partial(self._handler, given), abandon_on_cancel=True, limiter=self._threads
        )
        return await answer if inspect.isawaitable(answer) else answer


def _is_async(handler: object) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004 - its kind is asked, not whether it is
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def _first_parameter(handler: object) -> object:
    """Return the annotation of what `handler` is given, as text where it cannot be evaluated."""
    if not callable(handler):
        raise ConfigurationError(f"a handler is a function, not {type(handler).__name__}")
    try:
        try:
            signature = inspect.signature(handler, eval_str=True)
        except (NameError, AttributeError, SyntaxError, TypeError):
            signature = inspect.signature(handler)
    except (ValueError, TypeError):  # of a builtin nothing is known
        return None
    try:
        signature.bind(None)
    except TypeError as error:
        raise ConfigurationError(
            f"a handler is called with one argument, the message; {handler!r}: {error}"
        ) from None
    return next(iter(signature.parameters.values())).annotation


def _has_delivery(annotation: object) -> bool:
    if isinstance(annotation, str):
        return _NAMED.search(annotation) is not None
    if annotation is Delivery or get_origin(annotation) is Delivery:
        return True
    return any(_has_delivery(part) for part in get_args(annotation))
