"""`python -m tests.crash.rolling`: a rolling restart on Kafka, beside aiokafka; one line of JSON.

Three processes of a group handle messages, each for a while. One after the other is told to stop,
ends, and is started again. It counts the messages that were acked at their first handling: others
were handled twice. aiokafka handles what one read gave it at the same time, commits, and reads
again. Exit status 0 if `acked` has at least as many as aiokafka with static membership.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import anyio

from acked import RAW, AckUnconfirmed, Channel, Delivery, LeaseLost, Topic
from compose.fleet import create
from tests.crash.jobs import Diary
from tests.crash.stage import ROOT, Diaries

TOPIC: Final = "rolling"
GROUP: Final = "crew"
PARTITIONS: Final = 6
PROCESSES: Final = 3
AT_ONCE: Final = 4
"""Messages that a process handles at the same time."""
WITHOUT_PROGRESS: Final = 60.0
"""Seconds after which a run is given up."""
aiokafka: Final = cast("Any", import_module("aiokafka"))  # it has no types


@dataclass(frozen=True)
class Shift:
    """What a process is to do: its diary, how long a handler takes, and its name in the group."""

    servers: str
    diary: str
    seconds: float
    instance: str | None


async def with_acked(shift: Shift) -> None:
    """Handle with `process`, default options."""
    diary = Diary(shift.diary)

    async def handle(delivery: Delivery[bytes]) -> None:
        number = delivery.body.decode()
        diary.note("began", number)
        await anyio.sleep(shift.seconds)
        try:
            await delivery.ack()
        except (LeaseLost, AckUnconfirmed):
            diary.note("lost", number)
        else:
            diary.note("acked", number)

    instance = "" if shift.instance is None else f"?group_instance_id={shift.instance}"
    async with (
        Channel.from_url(f"kafka://{shift.servers}{instance}") as channel,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_on_sigterm, tasks.cancel_scope.cancel)
        diary.note("up", "-")
        await channel.process(
            Topic(TOPIC, bytes, codec=RAW), handle, group=GROUP, concurrency=AT_ONCE
        )


async def with_aiokafka(shift: Shift) -> None:
    """Read as many as are handled at once, handle them, commit; told to stop, end after that."""
    diary, is_told = Diary(shift.diary), asyncio.Event()
    consumer = aiokafka.AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=shift.servers,
        group_id=GROUP,
        group_instance_id=shift.instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )

    async def handle(number: str) -> None:
        diary.note("began", number)
        await asyncio.sleep(shift.seconds)

    await consumer.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_on_sigterm, is_told.set)
        diary.note("up", "-")
        while not is_told.is_set():
            found = await consumer.getmany(timeout_ms=200, max_records=AT_ONCE)
            if not found:
                continue
            numbers = [one.value.decode() for records in found.values() for one in records]
            await asyncio.gather(*map(handle, numbers))
            outcome = "acked"
            try:
                await consumer.commit({at: rs[-1].offset + 1 for at, rs in found.items()})
            except (aiokafka.errors.CommitFailedError, aiokafka.errors.IllegalStateError):
                outcome = "lost"
            for number in numbers:
                diary.note(outcome, number)
        tasks.cancel_scope.cancel()
    await consumer.stop()


async def _on_sigterm(stop: Callable[[], None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            stop()


Contender = Callable[[Shift], Coroutine[Any, Any, None]]
ACKED, STATIC = "acked", "aiokafka, static"
CONTENDERS: Final[Mapping[str, tuple[Contender, bool]]] = {
    ACKED: (with_acked, False),
    "acked, static": (with_acked, True),
    "aiokafka": (with_aiokafka, False),
    STATIC: (with_aiokafka, True),
}
"""What handles, and whether a process is the same member of its group when it comes again."""


class Crew:
    """The processes, and what their diaries say."""

    def __init__(self, contender: str, servers: str, folder: Path, seconds: float) -> None:
        self.handlings = 0
        self.first: dict[str, str] = {}
        """By message, what became of the handling of it that ended first."""
        self.ups = 0
        self.last_news = time.monotonic()
        self._contender = contender
        self._servers = servers
        self._seconds = seconds
        self._diaries = Diaries(folder)
        self._paths: list[str] = []
        self._running = [self._start(place) for place in range(PROCESSES)]

    def look(self) -> None:
        """Read what is new."""
        lines = [line.split() for path in self._paths for line in self._diaries.more(path)]
        for _, what, number in sorted(lines, key=lambda one: int(one[0])):
            self.last_news = time.monotonic()
            self.ups += what == "up"
            self.handlings += what == "began"
            if what in {"acked", "lost"}:
                self.first.setdefault(number, what)

    async def restart(self, place: int) -> None:
        """Tell one to stop, wait for its end, and start another in its place."""
        worker = self._running[place]
        worker.terminate()
        await anyio.to_thread.run_sync(worker.wait, 60)
        self._running[place] = self._start(place)
        await self.until(lambda: self.ups == len(self._paths))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so`, or nothing happens any more."""
        while not is_so() and time.monotonic() - self.last_news < WITHOUT_PROGRESS:
            await anyio.sleep(0.05)
            self.look()

    def stop(self) -> None:
        """End them all."""
        for worker in self._running:
            worker.kill()
            worker.wait()

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        self._paths.append(self._diaries.path(f"process-{len(self._paths)}"))
        words = [self._contender, self._servers, self._paths[-1], str(self._seconds), str(place)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.crash.rolling", "work", *words], cwd=ROOT
        )


async def publish(servers: str, count: int) -> None:
    """Make the topic, and publish to each of its partitions as many."""
    async with Channel.from_url(f"kafka://{servers}?create_topics={PARTITIONS}") as channel:
        await channel.publish(Topic(TOPIC, bytes, codec=RAW), b"0")
        producer = channel.layer.producer
        for number in range(1, count):
            partition = number % PARTITIONS
            await producer.send_and_wait(TOPIC, b"%d" % number, partition=partition)


async def play(contender: str, servers: str, folder: Path, count: int, seconds: float) -> Crew:
    """Restart all while they handle; return what became of it once every message is done."""
    await publish(servers, count)
    crew = Crew(contender, servers, folder, seconds)
    try:
        await crew.until(lambda: crew.handlings >= PROCESSES * AT_ONCE)
        for place in range(PROCESSES):
            await crew.restart(place)
        await crew.until(lambda: len(crew.first) == count)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(crew.stop)
    return crew


def run(contender: str, count: int = 60, seconds: float = 6.0) -> dict[str, object]:
    """Run one contender on a broker of its own; return what is to be told of it."""
    began, broker = time.monotonic(), create("kafka")
    broker.start()
    try:
        with tempfile.TemporaryDirectory(prefix="acked-rolling-") as folder:
            servers = broker.url.removeprefix("kafka://")
            crew = anyio.run(partial(play, contender, servers, Path(folder), count, seconds))
    finally:
        broker.close()
    return {
        "messages": count,
        "acked": list(crew.first.values()).count("acked"),
        "handlings": crew.handlings,
        "seconds": round(time.monotonic() - began, 1),
    }


def main(words: list[str]) -> int:
    """Be a process, or run, print, and return the exit status."""
    if words[:1] == ["work"]:
        contender, servers, diary, seconds, place = words[1:]
        work, is_static = CONTENDERS[contender]
        instance = f"process-{place}" if is_static else None
        anyio.run(work, Shift(servers, diary, float(seconds), instance))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.crash.rolling", description=__doc__)
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long a handler takes")
    given = parser.parse_args(words)
    reports = {one: run(one, given.messages, given.seconds) for one in CONTENDERS}
    print(json.dumps(reports))
    return 0 if cast("int", reports[ACKED]["acked"]) >= cast("int", reports[STATIC]["acked"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
