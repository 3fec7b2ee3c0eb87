"""Who acts in a program: consumers in tasks of their own, and those that fell silent.

A subscription is entered and left by one task, so each has a task; it is read, and what it
delivered is settled, from the task that runs the program. A *silent consumer* is a feed without an
engine: nobody renews its leases, as if its process had died.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import anyio
import anyio.abc
import msgspec

from acked import AckedError, Delivery, Subscription
from acked.abc import AckFeed
from acked.types import Leased, Verb

__all__ = ("Consumer", "ContextTask", "Holding", "Reading", "SilentConsumer")

T = TypeVar("T")


class ContextTask(Generic[T]):
    """A task that stays in a context until it is told to leave it, or is cancelled."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._inside: list[T] = []
        self._scope = anyio.CancelScope()
        self._leave = anyio.Event()
        self._left = anyio.Event()

    @property
    def inside(self) -> T:
        """What entering the context gave."""
        return self._inside[0]

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Enter, say so, and stay."""
        try:
            with self._scope:
                async with self._make() as inside:
                    self._inside.append(inside)
                    task_status.started()
                    await self._leave.wait()
        finally:
            self._left.set()

    async def leave(self, *, interrupted: bool = False) -> None:
        """Return when the context was left."""
        if interrupted:
            self._scope.cancel()
        self._leave.set()
        await self._left.wait()


class Reading:
    """A read that goes on in a task of its own, as a waiting consumer does."""

    def __init__(self) -> None:
        self.found: Delivery[str] | None = None
        self.error: AckedError | None = None
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def run(self, read: Callable[[], Awaitable[Delivery[str]]]) -> None:
        """Read one delivery into `found`, or what was raised into `error`."""
        try:
            with self._scope:
                self.found = await read()
        except AckedError as error:
            self.error = error
        finally:
            self._ended.set()

    async def ended(self) -> None:
        """Return when there is something to know."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Cancel it; what was read by then stays in `found`."""
        self._scope.cancel()
        await self._ended.wait()


class Holding(msgspec.Struct, eq=False):
    """A delivery, and what its holder knows of it; `lease` is the model's number for it."""

    delivery: Delivery[str]
    group: str
    lease: int = 0
    verb: Verb | None = None
    """The settlement that was confirmed (`sure`), or may have been carried out."""
    sure: bool = False
    over: bool = False
    """The lease is known to be lost, or its subscription was left."""

    @property
    def may_be_held(self) -> bool:
        """Whether it takes a place of its consumer's window, as far as anybody knows."""
        return not self.over and not self.sure


class Consumer(msgspec.Struct, eq=False):
    """One consumer, and all that it ever received; no two ever have one `name`."""

    name: str
    group: str
    in_flight: int
    task: ContextTask[Subscription[Delivery[str]]]
    holdings: list[Holding]
    reading: Reading | None = None

    def room(self) -> int:
        """Return the most messages it may have fetched and not handed out."""
        return self.in_flight - sum(one.may_be_held and one.verb is None for one in self.holdings)

    def full(self) -> bool:
        """Say whether it may hold as much as it is allowed to."""
        return sum(one.may_be_held for one in self.holdings) >= self.in_flight


class SilentConsumer(msgspec.Struct, eq=False):
    """A consumer that fell silent, and what it holds: message, number of the lease, the rest."""

    name: str
    group: str
    task: ContextTask[AckFeed]
    holdings: list[tuple[str, int, Leased]]
