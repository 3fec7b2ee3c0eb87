"""The demo: publish orders, kill a worker in mid-work, and count what became of each order.

One order more is a poison: it kills whichever worker handles it, and must be the only one that is
given up, whatever else those workers had in work.

One process publishes and watches; the others, see `acked.demo.worker`, consume in one group. How
the numbers come about is written in `acked.demo.tally`.
"""

import time
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final, Protocol
from urllib.parse import urlsplit

import anyio
import msgspec

from acked import AckSubscription, Channel, Topic
from acked.abc import AckLayer
from acked.demo.failures import Broken
from acked.demo.order import Order
from acked.demo.order_file import orders_of
from acked.demo.tally import Report, Tally
from acked.demo.worker import GROUP, HANDS, Assignment
from acked.demo.worker_pool import WorkerPool

__all__ = ("Plan", "Result", "play")

KILL_AT: Final = 0.4
"""A worker is killed when so much of everything was acked."""
BATCH: Final = 250
"""Orders to one request of the publisher."""
TURN: Final = 0.02
"""Seconds between two looks at the ledgers."""
SPREAD: Final = 3.0
"""Seconds that all the work would take if acknowledging took none, so that there is a mid-work."""
LONGEST_WORK: Final = 0.3
"""Seconds for one order at most, however few there are."""
FIRST_ORDER: Final = 30.0
"""Seconds within which some worker must have got an order."""
BURIAL: Final = 30.0
"""Seconds after the last event within which the poison order must be among the dead letters."""
LAST_ORDER: Final = 0
"""The number of the order that is published in the end, to see that the queue still delivers."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do; `lease` is in seconds."""

    path: Path
    count: int
    url: str
    workers: int
    lease: float

    def __str__(self) -> str:
        scheme = urlsplit(self.url).scheme
        return (
            f"{self.count:,} orders over {scheme}, {self.workers} worker processes, "
            f"a lease of {self.lease:g} s"
        )

    @property
    def poison(self) -> int:
        """The number of the order that kills its worker: one beyond the others."""
        return self.count + 1

    @property
    def work(self) -> float:
        """How long one order takes a worker, in seconds."""
        return min(LONGEST_WORK, SPREAD * self.workers * HANDS / self.count)


class Result(msgspec.Struct, frozen=True):
    """The report, and what explains it."""

    report: Report
    recovered: int
    unheard: int
    owed: int
    broken_promises: int
    poisons: int
    """How many poison orders there were."""

    @property
    def is_good(self) -> bool:
        """Whether all but the poison were acked, none came again after that, and it is buried."""
        report = self.report
        all_acked = report.acked == report.accepted and report.lost == 0
        only_poison = report.dead_letters == self.poisons and report.innocent_dead_letters == 0
        return all_acked and only_poison and self.broken_promises == 0


class Watcher(Protocol):
    """Who is told how it goes."""

    def show(self, *, published: int, acked: int) -> None:
        """Take note of progress."""
        ...

    def say(self, words: str) -> None:
        """Take note of an event."""
        ...


async def play(plan: Plan, channel: Channel[AckLayer], folder: Path, watcher: Watcher) -> Result:
    """Carry out `plan` over `channel`, which is not open yet, with files in `folder`.

    Raises `AckedError` for what the layer met, `Broken` for a worker that failed.
    """
    topic = Topic(f"acked-demo-{token_hex(4)}", Order)
    dead = Topic(f"{topic.name}-dead", Order)
    assignment = Assignment(
        url=plan.url,
        topic=topic.name,
        dead=dead.name,
        poison=plan.poison,
        lease=plan.lease,
        work=plan.work,
    )
    async with channel, channel.subscribe(dead, group=GROUP) as dead_letters:
        watcher.say(f"{plan}")
        owed = set[int]()
        with WorkerPool(plan.workers, folder, assignment) as pool:
            scenario = Scenario(plan, pool, watcher, poisons=poisons_over(channel, watcher))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scenario.bury, dead_letters)
                tasks.start_soon(scenario.publish, channel, topic)
                await scenario.watch()
                await pool.leave()
                scenario.look()
                watcher.say("the workers are done; looking whether the group is owed an order")
                owed = await still_owed(channel, topic, plan.lease)
                tasks.cancel_scope.cancel()
        return scenario.result(owed)


def poisons_over(channel: Channel[AckLayer], watcher: Watcher) -> int:
    """Return how many orders may be poison: none where nobody would ever give them up."""
    if channel.layer.capabilities.last_chance:
        return 1
    watcher.say("this layer does not count what ends its process: there is no poison order")
    return 0


class Scenario:
    """One run, from the first order to the last ack."""

    def __init__(self, plan: Plan, pool: WorkerPool, watcher: Watcher, *, poisons: int) -> None:
        self._poisons = poisons
        self._buried: list[int] = []
        self._plan = plan
        self._pool = pool
        self._watcher = watcher
        self._tally = Tally(plan.count)
        self._kill_at = int(KILL_AT * plan.count)
        self._has_killed = False
        self._published_at = 0

    async def publish(self, channel: Channel[AckLayer], topic: Topic[Order]) -> None:
        """Publish every order of the file; accepted is what a receipt came back for."""
        orders = orders_of(self._plan.path, self._plan.count)
        while batch := list(islice(orders, BATCH)):
            receipts = await channel.publish_many(topic, batch)
            if self._poisons and not self._tally.accepted:  # so that it has neighbours
                await channel.publish(topic, Order(self._plan.poison, {}))
            self._tally.accepted += len(receipts)
        self._published_at = time.monotonic_ns()

    async def bury(self, dead_letters: AckSubscription[Order]) -> None:
        """Note what arrives among the dead letters, until cancelled."""
        async for letter in dead_letters:
            self._buried.append(letter.body.number)
            self._tally.note_life(time.monotonic_ns())
            await letter.ack()

    async def watch(self) -> None:
        """Return when all is acked or buried, or when nothing happens any more."""
        while not self._is_over():
            await anyio.sleep(TURN)
            self.look()
            for words in self._pool.replace_poisoned():
                self._watcher.say(words)
                self._tally.note_life(time.monotonic_ns())
            if not self._has_killed and self._is_mid_work():
                self._kill()

    def look(self) -> None:
        """Read what is new in the ledgers."""
        for worker, entry in self._pool.new_entries():
            self._tally.note(worker, entry)
        self._watcher.show(published=self._tally.accepted, acked=self._tally.confirmed)

    def result(self, owed: set[int]) -> Result:
        """Return what came out, given which orders were found to be owed."""
        tally = self._tally
        orders = owed - {self._plan.poison}
        report = tally.report(orders, self._buried)
        self._watcher.show(published=report.accepted, acked=report.acked)
        return Result(
            report,
            tally.recovered,
            len(tally.unheard),
            len(orders),
            tally.broken_promises,
            self._poisons,
        )

    def _is_mid_work(self) -> bool:
        tally = self._tally
        return tally.confirmed >= self._kill_at or tally.not_begun == 0  # the last chance

    def _kill(self) -> None:
        """Kill the worker that has most in work, if any has."""
        victim = max(self._pool.living, key=self._tally.in_work)
        if not self._tally.in_work(victim):
            return
        self._has_killed = True
        name, moment = self._pool.kill(victim)
        self._tally.note_kill(victim, moment)
        self.look()
        held = self._tally.in_work(victim)
        self._watcher.say(
            f"killed {name} in mid-work, by SIGKILL: {held:,} orders begun, not acked"
        )

    def _is_over(self) -> bool:
        if self._tally.accepted < self._plan.count:
            return False
        if self._poisons and self._plan.poison not in self._buried:
            return self._quiet_seconds() > BURIAL
        if self._tally.confirmed == self._plan.count:
            return True
        # What the killed worker held is delivered again within two leases. If nothing is, then
        # nothing is owed: what is missing was acked by it, or lost.
        patience = 2 * self._plan.lease + 1.0
        return self._quiet_seconds() > patience

    def _quiet_seconds(self) -> float:
        last = self._tally.last_moment
        quiet = (time.monotonic_ns() - max(last, self._published_at)) / 1e9
        if not last:
            if quiet > FIRST_ORDER:
                raise Broken(
                    f"no worker got an order within {FIRST_ORDER:g} s; can several processes share "
                    "what this URL names?"
                )
            return 0.0
        return quiet


async def still_owed(channel: Channel[AckLayer], topic: Topic[Order], lease: float) -> set[int]:
    """Join the group as a new consumer and return the orders that it is still given.

    One more order is published first: when it arrives, silence means that nothing is owed and
    not that nothing is delivered. Then it listens for longer than a lease: nobody else is left in
    the group, so every lease that anybody held ends within that time.
    """
    owed: set[int] = set()
    has_arrived = False
    await channel.publish(topic, Order(LAST_ORDER, {}))
    async with channel.subscribe(topic, group=GROUP, lease=lease) as subscription:
        with anyio.move_on_after(FIRST_ORDER) as patience:
            async for delivery in subscription:
                if delivery.body.number == LAST_ORDER:
                    has_arrived = True
                    patience.deadline = anyio.current_time() + 1.5 * lease + 0.5
                else:
                    owed.add(delivery.body.number)
                await delivery.ack()
    if not has_arrived:
        raise Broken(f"the queue does not deliver: nothing arrived within {FIRST_ORDER:g} s")
    return owed
