"""What a program runs in: a channel over the layer under test, those who act, and the model."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar, cast

import anyio
import anyio.abc

from acked import (
    Channel,
    ChannelClosed,
    Delivery,
    LayerError,
    Redelivery,
    Start,
    Subscription,
    Topic,
)
from acked.abc import AckFeed, AckLayer
from acked.conformance._actors import Consumer, ContextTask, Holding, SilentConsumer
from acked.conformance._waiting import Waiting
from acked.conformance.harness import Harness
from acked.conformance.model import Illegal, Model

__all__ = ("CONSUMERS", "GROUPS", "Environment")

T = TypeVar("T")

GROUPS: Final = ("a", "b")
CONSUMERS: Final = {"a1": 3, "a2": 5, "b1": 1}
"""Who may consume, the group's letter first; and the `in_flight` of each."""


class Environment:
    """One broker's topic, two groups, and what everybody knows of them.

    `disturbed`: errors of the connection are legal from now on.
    """

    def __init__(self, harness: Harness, tasks: anyio.abc.TaskGroup, *, fragile: bool) -> None:
        self.harness: Final = harness
        self.waiting: Final = Waiting(harness)
        self.channel: Channel[AckLayer] = harness.channel()
        self.capabilities: Final = self.channel.layer.capabilities
        self.topic: Final = Topic(harness.topic("program"), str)
        self.dead: Final = Topic(harness.topic("dead"), str)
        self.group_names: Final = {letter: harness.group(letter) for letter in GROUPS}
        self.dead_letter_reader: Final = harness.group("reader")
        self.model: Final = Model(GROUPS, self.capabilities, fragile=fragile)
        self.disturbed = fragile
        self.waiting.faulty = fragile
        self.consumers: Final[dict[str, Consumer]] = {}
        self.former: Final[dict[str, list[Holding]]] = {name: [] for name in CONSUMERS}
        self.silent_consumers: Final[list[SilentConsumer]] = []
        self.rejections: Final[Counter[tuple[str, str]]] = Counter()
        """How often a rejection was asked for, by group and message."""
        self.tasks: Final = tasks
        self._ticking = anyio.CancelScope()
        self._count = 0

    @property
    def now(self) -> float:
        """The time on the clock that layer and engine share."""
        return self.harness.clock.time()

    async def begin(self) -> None:
        """Open the channel and let the groups exist: what is published from now on is owed them."""
        await self.channel.__aenter__()
        if self.waiting.virtual and self.disturbed:  # what fails waits for the clock
            self.tasks.start_soon(self._tick)
        groups = [self._subscription(letter, 1) for letter in GROUPS]
        if self.capabilities.dead_letter:
            groups.append(self.channel.subscribe(self.dead, group=self.dead_letter_reader))
        async with anyio.create_task_group() as together:
            for subscription in groups:
                together.start_soon(_joined_once, subscription)

    async def close(self) -> None:
        """Leave everything."""
        await self.leave_all()
        await self.channel.aclose()
        self._ticking.cancel()

    def check(self) -> None:
        """Raise `Illegal` if a window is exceeded or an account does not add up."""
        for consumer in self.consumers.values():
            self.collect(consumer)
            now = cast("Any", consumer.task.inside).statistics()
            ended = now.acked + now.nacked + now.rejected + now.lost + now.released
            if now.delivered != ended + now.held:
                raise Illegal(f"the account of {consumer.name} does not add up: {now}")
            if now.held + now.buffered > consumer.in_flight:
                raise Illegal(f"{consumer.name} exceeds in_flight={consumer.in_flight}: {now}")

    def fresh(self, word: str) -> str:
        """Return a name that nothing else has in this program."""
        self._count += 1
        return f"{word}{self._count}"

    async def consumer(self, name: str) -> Consumer | None:
        """Return the consumer, joined; None if its group has one that would starve it."""
        if name in self.consumers:
            return self.consumers[name]
        group, in_flight = name[0], CONSUMERS[name]
        alone = not self.capabilities.competing
        if alone and any(one.group == group for one in self.consumers.values()):
            return None
        task = await self.entered(lambda: self._subscription(group, in_flight))
        consumer = Consumer(self.fresh(f"{name}."), group, in_flight, task, [])
        self.consumers[name] = consumer
        return consumer

    async def silent_consumer(self, group: str, count: int) -> SilentConsumer:
        """Return a feed of the group that no engine serves."""

        def join() -> AbstractAsyncContextManager[AckFeed]:
            return self.channel.layer.consume(
                [self.topic.name],
                self.group_names[group],
                in_flight=count,
                lease=self.harness.lease,
                start=Start.EARLIEST,
            )

        silent = SilentConsumer(self.fresh("silent."), group, await self.entered(join), [])
        self.silent_consumers.append(silent)
        return silent

    async def leave(self, name: str, *, interrupted: bool = False) -> None:
        """Let the consumer leave, as `break` does or as cancelling does."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return
        if consumer.reading is not None:
            await consumer.reading.stop()
            self.collect(consumer)
        await consumer.task.leave(interrupted=interrupted)
        self.model.left(consumer.name, charge=not (interrupted and self.capabilities.release))
        for holding in consumer.holdings:
            holding.over = holding.over or not holding.sure
        self.former[name] += consumer.holdings

    async def leave_all(self) -> None:
        """Let everybody leave, the silent ones, too."""
        for name in tuple(self.consumers):
            await self.leave(name)
        while self.silent_consumers:
            silent = self.silent_consumers.pop()
            await silent.task.leave()
            self.model.left(silent.name, charge=True)

    async def entered(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> ContextTask[T]:
        """Enter what `make` returns, in a task that stays; after a disturbance, try repeatedly."""
        tries = 20 if self.disturbed else 1
        while True:
            tries -= 1
            task = ContextTask(make)
            try:
                await self.tasks.start(task.run)
            except LayerError:
                if not tries:
                    raise
                await self.harness.pass_time(self.harness.lease / 8)
            else:
                return task

    def must_come(self, group: str, consumer: Consumer | None) -> set[str]:
        """Return what the group is owed now, if others cannot have fetched all of it."""
        due = self.model.due(group, self.now)
        others = [one for one in self.consumers.values() if one.group == group]
        elsewhere = sum(one.room() for one in others if one is not consumer)
        return due if len(due) > elsewhere else set()

    def collect(self, consumer: Consumer) -> Holding | None:
        """Note what a waiting consumer was delivered meanwhile."""
        reading = consumer.reading
        if reading is None or (reading.found is None and reading.error is None):
            return None
        consumer.reading = None
        if reading.found is not None:
            return self.took(consumer, reading.found)
        if isinstance(reading.error, ChannelClosed):  # it was closed while a consumer waited
            return None
        raise Illegal(f"{consumer.name} could not read: {reading.error!r}") from reading.error

    def took(self, consumer: Consumer, delivery: Delivery[str]) -> Holding:
        """Note a delivery, and compare it with the model."""
        # Kept before it is judged: an illegal one that is dropped unsettled would warn as well.
        holding = Holding(delivery, consumer.group)
        consumer.holdings.append(holding)
        holding.lease = self.model.delivered(
            consumer.group, delivery.body, delivery.attempt, consumer.name, self.now
        )
        return holding

    async def _tick(self) -> None:
        with self._ticking:
            while True:
                await self.harness.pass_time(self.harness.lease / 50)

    def _subscription(self, group: str, in_flight: int) -> Subscription[Delivery[str]]:
        dead_letter_topic = self.dead.name if self.capabilities.dead_letter else None
        return self.channel.subscribe(
            self.topic,
            group=self.group_names[group],
            in_flight=in_flight,
            lease=self.harness.lease,
            max_lease=None,
            redelivery=Redelivery(dead_letter=dead_letter_topic),
        )


async def _joined_once(subscription: Subscription[Delivery[str]]) -> None:
    """Let a group exist."""
    async with subscription:
        pass
