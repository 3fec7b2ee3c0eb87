"""The children of a crash run: publishers, consumers and listeners, in processes of their own.

Started as `python -m tests.crash.jobs JOB`, a `Job` as JSON. It says `ready` on standard output
when it is connected, begins when it reads a line on standard input, and ends when that closes.
What it did stands in its diary, one line a step, written before the next step begins.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import anyio
import msgspec

from acked import (
    AckSubscription,
    AckUnconfirmed,
    Channel,
    ConnectionLost,
    Delivery,
    LayerError,
    LeaseLost,
    Overflow,
    PublishFailed,
    StreamOverflow,
    Topic,
)
from acked.abc import AckLayer, FireAndForgetLayer

HANDS = 64
"""How many messages a publisher or consumer has in work at a time."""
BATCH = 20
"""How many messages of news are published together."""
LEASE = 2.0
WORK = 0.01
"""Seconds for which a message is held before its ack: who is killed holds some."""

DEBTS = Topic("crash", int)
NEWS = Topic("crash", tuple[int, int])
"""The number of the publisher, and its number of the message."""


class Reading(msgspec.Struct, frozen=True):
    """How one listener reads; `pause` seconds after every 64 messages."""

    diary: str
    overflow: str = "drop_oldest"
    capacity: int = 1024
    pause: float = 0.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to do."""

    role: Literal["publish", "consume", "news"]
    url: str
    diaries: list[str] = []
    """Of the consumer, or of each publisher; the listeners' are in `readings`."""
    first: int = 0
    """The number of the first of these publishers; there are two in all."""
    count: int = 0
    """How many messages this publisher is to have accepted."""
    readings: list[Reading] = []


class Diary:
    """A file of what was done and when: what stands in it survives a SIGKILL of the writer.

    The time is the machine's monotonic one, the same in all processes.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, *words: object) -> None:
        """Add a line; it is with the kernel on return."""
        line = " ".join(map(str, (time.monotonic_ns(), *words)))
        os.write(self._file, f"{line}\n".encode())


async def started() -> None:
    """Say that we are ready, and wait until all the others are."""
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


async def publish(job: Job, channel: Channel[AckLayer]) -> None:
    """Publish every other number until each was accepted, `HANDS` at a time."""
    diary = Diary(job.diaries[0])

    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            while True:
                try:
                    await channel.publish(DEBTS, number)
                except (PublishFailed, ConnectionLost):
                    # It may have been accepted all the same: the next try may be a duplicate.
                    diary.note("again", number)
                    await anyio.sleep(0.2)
                else:
                    diary.note("accepted", number)
                    break

    await started()
    numbers = iter(range(job.first, 2 * job.count, 2))
    async with anyio.create_task_group() as hands:
        for _ in range(HANDS):
            hands.start_soon(work, numbers)
    await anyio.sleep_forever()


async def outcome_of_ack(delivery: Delivery[int]) -> str:
    """Ack, again where the broker says that it cannot now; return the word for what came of it."""
    while True:
        try:
            await delivery.ack()
        except LeaseLost:
            return "late"
        except AckUnconfirmed:
            return "unconfirmed"
        except LayerError as error:  # a server that starts up or shuts down, for instance
            if not error.may_pass:
                raise
            await anyio.sleep(WORK)
        else:
            return "acked"


async def consume(job: Job, channel: Channel[AckLayer]) -> None:
    """Ack whatever comes, `HANDS` at a time."""
    diary = Diary(job.diaries[0])

    async def work(subscription: AckSubscription[int]) -> None:
        async for delivery in subscription:
            number = delivery.body
            diary.note("got", number)
            await anyio.sleep(WORK)
            diary.note("asked", number)
            diary.note(await outcome_of_ack(delivery), number)

    async with channel.subscribe(
        DEBTS, group="crew", in_flight=2 * HANDS, lease=LEASE
    ) as subscription:
        await started()
        async with anyio.create_task_group() as hands:
            for _ in range(HANDS):
                hands.start_soon(work, subscription)


async def tell(job: Job, channel: Channel[FireAndForgetLayer], diary: Diary) -> None:
    """Publish numbers in their order until `count` were accepted, and then more, for ever.

    So whatever was lost lies between two arrivals; and no number comes twice.
    """
    number = accepted = 0
    while accepted < job.count:
        numbers = range(number, number + min(BATCH, job.count - accepted))
        number = numbers.stop
        failed: set[int] = set()
        try:
            await channel.publish_many(NEWS, [(job.first, one) for one in numbers])
        except PublishFailed as error:
            failed = {numbers[index] for index in error.failures}
            await anyio.sleep(0.05)
        except ConnectionLost:
            failed = set(numbers)
            await anyio.sleep(0.05)
        for one in numbers:
            diary.note("failed" if one in failed else "accepted", one)
        accepted += len(numbers) - len(failed)
    diary.note("end", number)
    while True:
        with suppress(PublishFailed, ConnectionLost):
            await channel.publish(NEWS, (job.first, number))
        number += 1
        await anyio.sleep(0.1)


async def listen(
    reading: Reading, channel: Channel[FireAndForgetLayer], entered: anyio.Event
) -> None:
    """Note what comes and every gap; after a `StreamOverflow` begin again."""
    diary = Diary(reading.diary)
    while True:
        try:
            async with channel.subscribe(
                NEWS, capacity=reading.capacity, overflow=Overflow(reading.overflow)
            ) as subscription:
                entered.set()
                count = 0
                async for message in subscription:
                    gap = message.gap
                    told: object = "-" if gap is None else "?" if gap.missed is None else gap.missed
                    diary.note("got", *message.body, told)
                    count += 1
                    if reading.pause and count % 64 == 0:
                        await anyio.sleep(reading.pause)
        except StreamOverflow:
            diary.note("overflow")


async def listen_all(
    job: Job, channel: Channel[FireAndForgetLayer], tasks: anyio.abc.TaskGroup
) -> None:
    """Start the listeners of `job` and return when each is subscribed."""
    for reading in job.readings:
        entered = anyio.Event()
        tasks.start_soon(listen, reading, channel, entered)
        await entered.wait()


async def main(job: Job) -> None:
    """Do `job`."""
    if job.role in {"publish", "consume"}:
        async with Channel.from_url(job.url) as debts:
            await (publish if job.role == "publish" else consume)(job, debts)
        return
    async with (
        Channel.from_url(job.url, fire_and_forget=True) as news,
        anyio.create_task_group() as tasks,
    ):
        await listen_all(job, news, tasks)
        await started()
        for number, path in enumerate(job.diaries, job.first):
            mine = msgspec.structs.replace(job, first=number)
            tasks.start_soon(tell, mine, news, Diary(path))


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)  # every fault makes aiokafka write pages
    anyio.run(main, msgspec.json.decode(sys.argv[1], type=Job))
