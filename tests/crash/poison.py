"""A worker that one message kills, and what becomes of its neighbours.

    python -m tests.crash.poison URL     handle until killed; a line for each that was handled

`run` publishes, starts such a worker again whenever it died, as an orchestrator does, and returns
what was handled and what was given up once all is accounted for.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from acked import RAW, Channel, LeaseLost, Redelivery, Subscription, Topic

JOBS = Topic("poison.jobs", bytes, codec=RAW)
DEAD = Topic("poison.dead", bytes, codec=RAW)
KILLER = b"killer"
MOST = 3
"""Deliveries of a message."""
AT_ONCE = 8
"""Handlers of a worker that run at the same time."""
LEASE = 3.0
"""Longer than a busy machine stands still: what loses its lease while it is alone is condemned."""
WITHIN = 120.0
"""Seconds in which all must be accounted for."""


async def work(url: str) -> None:
    """Handle jobs until one of them kills us."""
    redelivery = Redelivery(max_deliveries=MOST, dead_letter=DEAD.name)
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(JOBS, group="workers", lease=LEASE, redelivery=redelivery) as sub,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(AT_ONCE):
            tasks.start_soon(handle, sub)


async def handle(sub: Subscription) -> None:
    """Handle one job after the other; a line for each that was handled, and then its ack."""
    async for delivery in sub:
        await anyio.sleep(0.005)  # a handler: so its neighbours are under way
        if delivery.body == KILLER:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdout.write(f"{delivery.body.decode()}\n")
        sys.stdout.flush()
        with suppress(LeaseLost):  # a busy machine stood still: it comes again
            await delivery.ack()


@dataclass
class Account:
    """What became of the jobs."""

    handled: set[bytes] = field(default_factory=set)
    buried: list[bytes] = field(default_factory=list)
    deaths: int = 0


class Supervisor:
    """Starts a worker again whenever it has ended, until it is stopped."""

    def __init__(self, url: str, account: Account) -> None:
        self._url = url
        self._account = account
        self._worker: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """End the worker."""
        self._is_stopped = True
        if self._worker is not None:
            self._worker.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_stopped:
            command = [sys.executable, "-m", "tests.crash.poison", self._url]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
                self._worker = worker
                for line in worker.stdout or ():
                    self._account.handled.add(line.strip())
            self._account.deaths += not self._is_stopped


async def run(url: str, count: int) -> Account:
    """Publish `count` jobs, one of which kills; return what became of them."""
    account = Account()
    async with Channel.from_url(url) as channel:
        for number in range(count):
            await channel.publish(JOBS, KILLER if number == count // 2 else b"%d" % number)
        supervisor = Supervisor(url, account)
        try:
            async with channel.subscribe(DEAD, group="undertaker") as letters:
                with anyio.fail_after(WITHIN):
                    async for letter in letters:
                        account.buried.append(letter.body)
                        await letter.ack()
                        if KILLER in account.buried:
                            break
                    while len(account.handled) + len(account.buried) < count:
                        await anyio.sleep(0.05)
        finally:
            await anyio.to_thread.run_sync(supervisor.stop)
    return account


if __name__ == "__main__":
    anyio.run(work, sys.argv[1])
