"""`python -m tests.crash.chaos LAYER`: workers under everything at once; one line of JSON.

Messages with failing handlers and with poison among them, half of which kills its process, are
handled by supervised workers, while two of these are killed, the broker is restarted and all
workers are restarted one after the other. Exit status 0 if every message was handled or is among
the dead letters, these are the poison and nothing else, each key was in its order, and no attempt
was above the cap.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from acked import Backoff, Channel, ConnectionLost, Delivery, PublishFailed, Redelivery, Topic
from acked.abc import AckLayer
from compose.fleet import create
from compose.lifecycle import Broker
from tests.crash.jobs import Diary
from tests.crash.stage import ROOT, Diaries

JOBS = Topic("chaos", int)
DEAD = Topic("chaos.dead", int)
GROUP = "crew"
MOST = 3
"""Deliveries of a message that fails."""
LEASE = 2.0
WORKERS = 4
KEYS = 500
AT_ONCE = 250
"""Messages to one request of the publisher."""
FAILS_EVERY = 20
"""One in so many fails at its first delivery."""
WITHOUT_PROGRESS = 60.0
"""Seconds after which a run is given up."""
LAYERS = {
    "sqlite-queue": None,
    "redis-streams": "redis",
    "postgres-queue": "postgres",
    "kafka": "kafka",
}
"""The layers that keep last chances, and their brokers."""
QUERIES = {"kafka": "?create_topics=8&session_timeout=6&group_instance_id={}"}
"""The options of a layer. A worker that is started again is the same member of its group on Kafka,
where one that was killed is waited for else: for six seconds each time."""


@dataclass(frozen=True)
class Crowd:
    """Which of `count` messages are what."""

    count: int
    poison: int

    @property
    def killers(self) -> set[int]:
        """The numbers of those that kill their process."""
        return {number for n, number in enumerate(self._poisonous) if n % 2 == 0}

    @property
    def hopeless(self) -> set[int]:
        """The numbers of those whose handler always fails."""
        return set(self._poisonous) - self.killers

    @property
    def _poisonous(self) -> list[int]:
        return [(2 * n + 1) * self.count // (2 * self.poison) for n in range(self.poison)]


async def work(url: str, diary: Diary, crowd: Crowd) -> None:
    """Handle messages until SIGTERM, or until one of them kills us."""

    async def handle(delivery: Delivery[int]) -> None:
        number, attempt = delivery.body, delivery.attempt
        diary.note("began", number, attempt)
        await anyio.sleep(0.005)  # so its neighbours are under way
        if number in killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in hopeless or (attempt == 1 and number % FAILS_EVERY == 0):
            raise ValueError("as planned")
        diary.note("handled", number)

    async def stop_on_signal() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()

    killers, hopeless = crowd.killers, crowd.hopeless
    at_once = Backoff(initial=0.05, maximum=0.1)
    redelivery = Redelivery(max_deliveries=MOST, dead_letter=DEAD.name, backoff=at_once)
    async with Channel.from_url(url) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal)
        await channel.process(
            JOBS,
            handle,
            group=GROUP,
            lease=LEASE,
            drain=5.0,
            redelivery=redelivery,
            ordered_by="key",
        )


@dataclass
class Account:
    """What became of the messages, from the diaries of the workers and the dead letters."""

    handled: set[int] = field(default_factory=set[int])
    buried: set[int] = field(default_factory=set)
    highest_attempt: int = 0
    began: dict[int, int] = field(default_factory=dict[int, int])
    """When a handler of it began first."""
    ended: dict[int, int] = field(default_factory=dict[int, int])
    """When it was handled first, or began for the last time that it may."""
    deaths: int = 0
    """Workers that ended before they were told to stop: by poison, or killed."""
    last_news: float = field(default_factory=time.monotonic)

    @property
    def settled(self) -> int:
        """How many are done with."""
        return len(self.handled | self.buried)

    def note(self, line: str) -> None:
        """Take in a line of a diary."""
        told, what, word, *attempt = line.split()
        at, number = int(told), int(word)
        if what == "handled":
            if number in self.handled:
                at = min(at, self.ended[number])
            self.handled.add(number)
            self.ended[number] = at
            self.last_news = time.monotonic()
        else:
            self.began[number] = min(at, self.began.get(number, at))
            self.highest_attempt = max(self.highest_attempt, int(attempt[0]))
            if int(attempt[0]) == MOST:
                self.ended.setdefault(number, at)

    @property
    def out_of_order(self) -> int:
        """How many began before the one before it of their key had come to its end."""
        return sum(self.began.get(number + KEYS, at) < at for number, at in self.ended.items())


class Workers:
    """The worker processes: each has a diary of its own; who died is replaced."""

    def __init__(self, url: str, folder: Path, crowd: Crowd, account: Account) -> None:
        self._url = url
        self._crowd = crowd
        self._account = account
        self._diaries = Diaries(folder)
        self._paths: list[str] = []
        self._running = [self._start(place) for place in range(WORKERS)]

    def look(self) -> None:
        """Read what is new, and replace who died."""
        for path in self._paths:
            for line in self._diaries.more(path):
                self._account.note(line)
        for place, worker in enumerate(self._running):
            if worker.poll() is not None:
                self._account.deaths += 1
                self._running[place] = self._start(place)

    def kill(self) -> None:
        """Kill one, whatever it has in hand."""
        self._running[0].kill()
        self._running[0].wait()

    def restart_all(self) -> None:
        """Let one after the other drain and end, and start another in its place."""
        for place, worker in enumerate(self._running):
            worker.terminate()
            worker.wait(30)
            self._running[place] = self._start(place)

    def stop(self) -> None:
        """End them all."""
        for worker in self._running:
            worker.kill()
            worker.wait()

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        self._paths.append(self._diaries.path(f"worker-{len(self._paths)}"))
        crowd, url = self._crowd, self._url.format(place)
        words = ("work", url, self._paths[-1], str(crowd.count), str(crowd.poison))
        return subprocess.Popen([sys.executable, "-m", "tests.crash.chaos", *words], cwd=ROOT)


async def publish(channel: Channel[AckLayer], crowd: Crowd) -> None:
    """Publish all, each with its key; a batch that failed again, so some may come twice."""
    for first in range(0, crowd.count, AT_ONCE):
        while True:
            try:
                for number in range(first, min(first + AT_ONCE, crowd.count)):
                    await channel.publish(JOBS, number, key=str(number % KEYS))
                break
            except (PublishFailed, ConnectionLost):
                await anyio.sleep(0.2)


async def bury(channel: Channel[AckLayer], account: Account) -> None:
    """Note what is given up."""
    async with channel.subscribe(DEAD, group="undertaker") as letters:
        async for letter in letters:
            account.buried.add(letter.body)
            account.last_news = time.monotonic()
            await letter.ack()


async def play(url: str, folder: Path, crowd: Crowd, broker: Broker | None) -> Account:
    """Run once; return what became of the messages once all are settled, or nothing happens."""
    account = Account()

    def restart() -> None:
        if broker is not None:
            broker.stop()
            broker.start()

    ours = url.format("undertaker")
    async with Channel.from_url(ours) as channel, anyio.create_task_group() as tasks:
        # The dead letters' group is there before there can be any.
        tasks.start_soon(bury, channel, account)
        tasks.start_soon(publish, channel, crowd)
        workers = Workers(url, folder, crowd, account)
        faults: list[tuple[str, Callable[[], None]]] = [
            ("a worker is killed", workers.kill),
            ("the broker is restarted", restart),
            ("all workers are restarted", workers.restart_all),
            ("another worker is killed", workers.kill),
        ]
        done = 0
        try:
            while account.settled < crowd.count:
                await anyio.sleep(0.05)
                workers.look()
                if done < len(faults) and account.settled > crowd.count * (done + 1) / 6:
                    name, fault = faults[done]
                    print(f"{account.settled} settled: {name}", file=sys.stderr, flush=True)
                    await anyio.to_thread.run_sync(fault)
                    done += 1
                if time.monotonic() - account.last_news > WITHOUT_PROGRESS:
                    break
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(workers.stop)
        tasks.cancel_scope.cancel()
    return account


def run(layer: str, crowd: Crowd) -> tuple[dict[str, object], bool]:
    """Run over `layer` with a broker of its own; return the report, and whether all held."""
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acked-chaos-")))
        name, broker = LAYERS[layer], None
        if name is None:
            url = f"{layer}://{folder}/queue.db"
        else:
            broker = create(name)
            stack.callback(broker.close)
            broker.start()
            url = f"{layer}://{broker.url.partition('://')[2]}{QUERIES.get(layer, '')}"
        account = anyio.run(partial(play, url, folder, crowd, broker))
    poison = crowd.killers | crowd.hopeless
    report: dict[str, object] = {
        "layer": layer,
        "messages": crowd.count,
        "handled": len(account.handled),
        "dead_letters": len(account.buried),
        "innocent_dead_letters": len(account.buried - poison),
        "unsettled": crowd.count - account.settled,
        "out_of_order": account.out_of_order,
        "highest_attempt": account.highest_attempt,
        "deaths": account.deaths,
        "seconds": round(time.monotonic() - began, 1),
    }
    held = account.buried == poison and account.settled == crowd.count
    held = held and not account.out_of_order
    return report, held and account.highest_attempt <= MOST


def main(words: list[str]) -> int:
    """Be a worker, or run, print, and return the exit status."""
    if words[:1] == ["work"]:
        url, diary, count, poison = words[1:]
        anyio.run(work, url, Diary(diary), Crowd(int(count), int(poison)))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description=__doc__)
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--poison", type=int, default=20)
    given = parser.parse_args(words)
    report, held = run(given.layer, Crowd(given.messages, given.poison))
    print(json.dumps(report))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
