"""Runs a handler for what a subscription brings, and settles by what it says; until it is stopped.

Rules:

1. So many tasks as handlers may run pull from the subscription: there is no task for each message.
2. Cancelled, it drains: nothing more is fetched, what nobody handles is given back at once, what
   handlers are at goes on for `drain` seconds. Then they are cancelled, and their messages given
   back by leaving the subscription, all in one request and uncharged. So whatever is not settled
   stays `in_hand` until then.
3. What a handler does ends no worker; what ends the subscription does.
"""

import math
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import anyio

from acked._core.ack.batch import together
from acked._core.ack.delivery import Delivery
from acked._core.ack.subscription import AckSubscription
from acked._core.worker.answers import Release
from acked._core.worker.calling import Handler
from acked._core.worker.key_queues import KeyQueues
from acked._core.worker.options import WorkerSettings
from acked._core.worker.settling import AnswerSettler
from acked.errors import AckedError, ConfigurationError, DecodeError

__all__ = ("Worker",)

SETTLING: Final = 2.0
"""Seconds that settling may take after the drain is over."""


class Worker:
    """One consumer of a group that handles its messages; run it once."""

    def __init__(
        self,
        subscription: AckSubscription[Any],
        handler: Handler,
        settings: WorkerSettings,
        settler: AnswerSettler,
    ) -> None:
        self._subscription = subscription
        self._handler = handler
        self._settings = settings
        self._settler = settler
        self._keys = KeyQueues()
        self._in_hand: set[Delivery[Any]] = set()
        self._handling: set[anyio.CancelScope] = set()
        self._settling: set[anyio.CancelScope] = set()
        self._handle_until = math.inf
        self._failure: AckedError | None = None
        self._scope = anyio.CancelScope()
        self.is_draining = False
        self.is_open = False
        """Whether the subscription has been entered and not left."""

    async def run(self) -> None:
        """Work until cancelled; raise what ended the subscription."""
        settings = self._settings
        work = self._single if settings.batch is None else self._batches
        self._slots = anyio.Semaphore(settings.concurrency, fast_acquire=True)
        with self._scope:
            async with self._subscription, anyio.create_task_group() as self._tasks:
                self.is_open = True
                self._tasks.start_soon(self._drain_when_cancelled)
                for _ in range(settings.concurrency):
                    self._tasks.start_soon(work)
        self.is_open = False
        self._in_hand.clear()
        if self._failure is not None:
            raise self._failure

    @property
    def is_receiving(self) -> bool:
        """Whether the subscription is open and the broker answers; not while it drains."""
        return self.is_open and not self.is_draining and self._subscription.is_receiving

    def stop(self) -> None:
        """Drain and end; as a cancellation does, and no error for whoever awaits `run`."""
        self._scope.cancel()

    async def _drain_when_cancelled(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.is_draining = True
            self._handle_until = anyio.current_time() + self._settings.drain
            for scope in self._handling:
                scope.deadline = min(scope.deadline, self._handle_until)
            for scope in self._settling:
                scope.deadline = self._handle_until + SETTLING
            with anyio.CancelScope(shield=True, deadline=self._handle_until + SETTLING):
                await self._subscription.stop_receiving()
                await self._give_back(self._keys.take_all())

    async def _single(self) -> None:
        while not self.is_draining:
            try:
                delivery = await anext(self._subscription)
            except DecodeError as error:
                await self._undecodable(error)
            except AckedError as error:
                self._fail(error)
                return
            else:
                with self._holding([delivery]):
                    await self._take(delivery)

    async def _batches(self) -> None:
        settings = self._settings
        batches = self._subscription.batches(settings.batch or 1, wait=settings.wait)
        while not self.is_draining:
            try:
                batch = await anext(batches)
            except DecodeError as error:
                await self._undecodable(error)
            except AckedError as error:
                self._fail(error)
                return
            else:
                with self._holding(batch):
                    answer = await self._answer(self._handler.several, batch)
                    if answer is not INTERRUPTED:
                        await self._settler.several(batch, answer)
                        self._in_hand.difference_update(batch)

    async def _take(self, delivery: Delivery[Any]) -> None:
        """Handle `delivery`, and what waits for it; or let it wait for another one."""
        key: Hashable | None = None
        try:
            key = self._key_of(delivery)
            is_first = key is None or self._keys.begin(key, delivery)
        except Exception as error:  # noqa: BLE001 - ordered_by= is the user's, as the handler is
            await self._settler.one(delivery, error)
            self._in_hand.discard(delivery)
        else:
            if is_first:
                await self._handle(key, delivery)

    async def _handle(self, key: Hashable | None, first: Delivery[Any]) -> None:
        """Handle `first`, then whatever came of its key meanwhile."""
        delivery: Delivery[Any] | None = first
        while delivery is not None:
            answer = await self._answer(self._handler.one, delivery)
            if answer is INTERRUPTED:
                return
            if key is not None and isinstance(answer, Release):
                await self._give_back([delivery, *self._keys.take(key)])
                return
            delay = await self._settler.one(delivery, answer, is_ordered=key is not None)
            if delay is not None:
                self._tasks.start_soon(self._again, key, delivery, delay)
                return
            self._in_hand.discard(delivery)
            delivery = None if key is None or self.is_draining else self._keys.next(key)

    async def _again(self, key: Hashable | None, delivery: Delivery[Any], delay: float) -> None:
        """Handle once more, here: its key waits meanwhile, or the layer cannot delay it."""
        await anyio.sleep(delay)
        with self._holding([delivery]):
            await self._handle(key, delivery)

    async def _answer(self, call: Callable[[Any], Awaitable[object]], given: Any) -> object:
        """Return what the handler returned or raised, or INTERRUPTED at the end of the drain."""
        async with self._slots:
            limit = self._settings.timeout
            until = math.inf if limit is None else anyio.current_time() + limit
            with anyio.CancelScope(deadline=min(until, self._handle_until)) as scope:
                self._handling.add(scope)
                try:
                    return await call(given)
                except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
                    if not scope.cancel_called:
                        return error
                finally:
                    self._handling.discard(scope)
            if anyio.current_time() >= self._handle_until:
                return INTERRUPTED
            return TimeoutError(f"{self._handler.name} took longer than {limit} s")

    @contextmanager
    def _holding(self, deliveries: Iterable[Delivery[Any]]) -> Generator[None]:
        """Keep a cancellation away, until the drain is over."""
        self._in_hand.update(deliveries)
        with anyio.CancelScope(shield=True, deadline=self._handle_until + SETTLING) as scope:
            self._settling.add(scope)
            try:
                yield
            finally:
                self._settling.discard(scope)

    async def _give_back(self, deliveries: Sequence[Delivery[Any]]) -> None:
        if deliveries:
            await self._settler.give_back(together(deliveries))
            self._in_hand.difference_update(deliveries)

    async def _undecodable(self, error: DecodeError) -> None:
        delivery = cast("Delivery[Any]", error.delivery)  # what a subscription raises has one
        with self._holding([delivery]):
            await self._settler.one(delivery, error)
            self._in_hand.discard(delivery)

    def _key_of(self, delivery: Delivery[Any]) -> Hashable | None:
        ordered_by = self._settings.ordered_by
        if ordered_by is None:
            return None
        key = delivery.key if ordered_by == "key" else ordered_by(delivery)
        if key is not None and not isinstance(key, Hashable):
            raise ConfigurationError(f"ordered_by= returned a {type(key).__name__}, not hashable")
        return key

    def _fail(self, error: AckedError) -> None:
        self._failure = self._failure or error
        self._scope.cancel()


INTERRUPTED: Final = object()
"""In place of an answer: the drain was over before there was one."""
