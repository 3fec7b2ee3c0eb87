"""Several consumers at once, at random, with everything they do recorded: what `history` checks."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from acked import (
    Channel,
    Delivery,
    LeaseLost,
    Subscription,
    Topic,
    VirtualClock,
)
from acked.abc import AckLayer
from acked.conformance.harness import Harness
from acked.conformance.history import HistoryEvent, Kind
from acked.types import Verb

__all__ = ("Workload",)

GROUPS: Final = ("a", "b")
KEYS: Final = ("red", "green", "blue")
LONGEST_PAUSE: Final = 0.03
"""Of a handler, in leases."""


class Workload:
    """Publishers, consumers that come and go, and the record of what they did.

    `run` returns the history: drained, so that whatever is owed at its end is lost.
    """

    def __init__(self, harness: Harness, seed: int, *, messages: int, consumers: int) -> None:
        self.history: Final[list[HistoryEvent]] = []
        self._harness = harness
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._channel: Channel[AckLayer] = harness.channel()
        self._can = self._channel.layer.capabilities
        self._consumers = consumers if self._can.competing else 1
        self._messages = messages
        self._topic = Topic(harness.topic("history"), str)
        self._names = {letter: harness.group(letter) for letter in GROUPS}
        self._joined = 0
        self._publishing = 0
        self._virtual = isinstance(harness.clock, VirtualClock)
        self._patience = 5.0 if self._virtual else harness.recovery + 2 * harness.lease

    async def run(self) -> list[HistoryEvent]:
        """Let everybody work, then drain each group; return what happened."""
        async with self._channel, anyio.create_task_group() as background:
            if self._virtual:
                background.start_soon(self._tick)
            for group in GROUPS:
                async with self._subscribe(group):
                    pass
            async with anyio.create_task_group() as together:
                for publisher in range(2):
                    together.start_soon(self._publish, publisher, self._messages // 2)
                for group in GROUPS:
                    for _ in range(self._consumers):
                        together.start_soon(self._come_and_go, group)
            await self._publish_one("the last")  # what comes unbidden comes before it
            for group in GROUPS:
                await self._drain(group)
            background.cancel_scope.cancel()
        return self.history

    async def _tick(self) -> None:
        while True:
            await self._harness.pass_time(self._harness.lease * LONGEST_PAUSE / 4)

    def _note(self, kind: Kind, **fields: Any) -> None:
        self.history.append(HistoryEvent(kind=kind, at=self._harness.clock.time(), **fields))

    async def _pause(self, leases: float) -> None:
        clock = self._harness.clock
        await clock.sleep_until(clock.time() + leases * self._harness.lease)

    def _subscribe(self, group: str) -> Subscription[Delivery[str]]:
        return self._channel.subscribe(
            self._topic,
            group=self._names[group],
            in_flight=self._chance.choice([1, 3, 8]),
            lease=self._harness.lease,
        )

    async def _publish(self, publisher: int, count: int) -> None:
        for number in range(count):
            await self._publish_one(f"{publisher}-{number}")
            await self._pause(self._chance.random() * LONGEST_PAUSE)

    async def _publish_one(self, message: str) -> None:
        key = self._chance.choice(KEYS)
        self._note("publish", message=message, key=key)
        await self._channel.publish(self._topic, message, key=key if self._can.keys else None)
        self._note("accepted", message=message)

    async def _come_and_go(self, group: str) -> None:
        """Join three times, for a while or for some messages; then there may be nothing left."""
        for _ in range(3):
            self._joined += 1
            name = f"{group}{self._joined}"
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._end_later, scope)
                    await self._stay(group, name, self._chance.randint(1, self._messages // 3))
                    tasks.cancel_scope.cancel()
            await self._pause(self._chance.random() * LONGEST_PAUSE)

    async def _end_later(self, scope: anyio.CancelScope) -> None:
        await self._pause(self._chance.random() * self._messages * LONGEST_PAUSE / 3)
        scope.cancel()

    async def _stay(self, group: str, name: str, count: int) -> None:
        async with self._subscribe(group) as subscription:
            self._note("join", group=group, consumer=name)
            forgotten: list[Delivery[str]] = []  # held until leaving, then given back
            try:
                for _ in range(count):
                    await self._handle(group, name, await anext(subscription), forgotten)
            except BaseException:
                self._note("release", group=group, consumer=name)
                raise
            self._note("leave", group=group, consumer=name)

    async def _handle(
        self, group: str, name: str, delivery: Delivery[str], forgotten: list[Delivery[str]]
    ) -> None:
        forgotten.append(delivery)
        self._deliver(group, name, delivery)
        dice = self._chance.random()
        await self._pause(1.5 if dice > 0.99 else dice * LONGEST_PAUSE)
        if dice < 0.6:
            await self._settle(group, name, delivery, Verb.ACK, delivery.ack)
        elif dice < 0.75 and self._can.nack:
            await self._settle(group, name, delivery, Verb.NACK, delivery.nack)
        elif dice < 0.85 and self._can.nack_delay:
            await self._nack_later(group, name, delivery)
        elif dice < 0.9 and self._can.reject:
            await self._settle(group, name, delivery, Verb.REJECT, delivery.reject)
        elif len(forgotten) > 1:  # one may fill the window of the smallest
            await self._settle(group, name, delivery, Verb.ACK, delivery.ack)

    async def _nack_later(self, group: str, name: str, delivery: Delivery[str]) -> None:
        delay = self._harness.lease * LONGEST_PAUSE
        await self._settle(
            group, name, delivery, Verb.NACK, lambda: delivery.nack(delay=delay), delay
        )

    def _deliver(self, group: str, name: str, delivery: Delivery[str]) -> None:
        self._note(
            "deliver",
            group=group,
            consumer=name,
            message=delivery.body,
            attempt=delivery.attempt,
        )

    async def _settle(
        self,
        group: str,
        name: str,
        delivery: Delivery[str],
        verb: Verb,
        call: Callable[[], Awaitable[None]],
        delay: float = 0.0,
    ) -> None:
        where = {"group": group, "consumer": name, "message": delivery.body}
        self._note("settle", verb=verb, delay=delay, **where)
        try:
            await call()
        except LeaseLost:
            self._note("lost", verb=verb, **where)
        else:
            self._note("confirmed", verb=verb, **where)

    async def _drain(self, group: str) -> None:
        """Ack whatever is owed."""
        self._joined += 1
        name = f"{group}{self._joined}"
        async with self._subscribe(group) as subscription:
            self._note("join", group=group, consumer=name)
            while self._owed(group) and await self._drain_one(group, name, subscription):
                pass
            self._note("leave", group=group, consumer=name)

    async def _drain_one(
        self, group: str, name: str, subscription: Subscription[Delivery[str]]
    ) -> bool:
        found: list[Delivery[str]] = []
        with anyio.move_on_after(self._patience):
            found.append(await anext(subscription))
        for delivery in found:
            self._deliver(group, name, delivery)
            await self._settle(group, name, delivery, Verb.ACK, delivery.ack)
        return bool(found)

    def _owed(self, group: str) -> set[str]:
        """Return what is accepted and certainly not settled: it must come."""
        owed = {event.message for event in self.history if event.kind == "accepted"}
        for event in self.history:
            if event.group != group or event.verb in {None, Verb.NACK}:
                continue
            if event.kind == "settle":
                owed.discard(event.message)
            elif event.kind == "lost":
                owed.add(event.message)
        return owed
