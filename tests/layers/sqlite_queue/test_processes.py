"""A queue file between real processes, killed by SIGKILL while they hold, settle and publish."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from acked.layers.sqlite_queue import SQLiteQueueLayer
from tests.layers.sqlite_kit import (
    LEASE,
    acks,
    consuming,
    kept,
    make,
    oracle,
    receive,
    seen,
    settle,
)

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

CHILD = Path(__file__).parent.with_name("sqlite_child.py")


class Child:
    """One process at work on the file."""

    def __init__(self, role: str, path: Path, lease: float) -> None:
        words = [sys.executable, str(CHILD), role, str(path), str(lease)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def line(self) -> tuple[str, list[str]]:
        assert self.process.stdout is not None
        word, names = json.loads(self.process.stdout.readline())
        return word, names

    def kill(self) -> list[tuple[str, list[str]]]:
        """Kill it and return what it had said that nobody has read yet, whole lines only."""
        self.process.send_signal(signal.SIGKILL)
        output, _ = self.process.communicate()
        lines = output.splitlines(keepends=True)
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(word, names) for word, names in said]


@contextmanager
def child(role: str, path: Path, lease: float = LEASE) -> Iterator[Child]:
    one = Child(role, path, lease)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.kill()


def later() -> float:
    """The wall clock, when every lease of the children is over."""
    return time.time() + LEASE + 1


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_sound(path: Path) -> bool:
    with oracle(path) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_what_a_killed_holder_held_comes_again_when_its_lease_ends(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a", "b", "c"))
    with child("hold", path) as holder:
        assert holder.line() == ("ready", [])
        assert holder.line() == ("claimed", ["a", "b"])
        holder.kill()
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        assert seen(await receive(feed)) == [("c", 1)]
    async with SQLiteQueueLayer(path, time=later) as layer, consuming(layer) as feed:
        assert seen(await receive(feed)) == [("a", 2), ("b", 2), ("c", 2)]
    assert is_sound(path)


async def test_what_was_acked_right_before_a_kill_never_comes_again(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a", "b", "c"))
    with child("ack", path) as acker:
        assert [acker.line() for _ in range(3)][-1] == ("settled", ["CONFIRMED", "CONFIRMED"])
        acker.kill()
    async with SQLiteQueueLayer(path, time=later) as layer, consuming(layer) as feed:
        batch = await receive(feed)
        assert seen(batch) == [("c", 1)]
        await settle(feed, *acks(batch))
    assert kept(path) == []


async def test_what_was_accepted_survives_the_kill_of_its_publisher(path: Path) -> None:
    for pause in (0.01, 0.05, 0.1):
        with child("publish", path) as publisher:
            accepted = publisher.line()[1]
            time.sleep(pause)  # let it be anywhere in a transaction
            for word, names in publisher.kill():
                assert word == "accepted"
                accepted += names
        names = kept(path)
        assert names[: len(accepted)] == accepted
        assert len(names) % 10 == 0  # what was not yet accepted is whole or absent
        with oracle(path) as db:
            db.execute("DELETE FROM message")
    assert is_sound(path)


async def test_no_message_is_held_by_two_processes(path: Path) -> None:
    names = [str(number) for number in range(2000)]
    async with SQLiteQueueLayer(path) as layer:
        with ExitStack() as stack:
            children = [stack.enter_context(child("drain", path)) for _ in range(3)]
            for one in children:
                assert one.line() == ("ready", [])
            for begin in range(0, 2000, 100):
                await layer.publish(make(*names[begin : begin + 100]))
            until(lambda: kept(path) == [])
            lines = [line for one in children for line in one.kill()]
    claimed = [name for word, names in lines for name in names if word == "claimed"]
    assert sorted(claimed) == sorted(names)


async def test_consumers_killed_at_random_moments_lose_nothing_and_ack_nothing_twice(
    path: Path,
) -> None:
    chance = random.Random(7)
    names = [str(number) for number in range(3000)]
    lines: list[tuple[str, list[str]]] = []
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make(*names))
    with ExitStack() as stack:
        survivor = stack.enter_context(child("drain", path, 0.3))
        for _ in range(4):
            victim = stack.enter_context(child("drain", path, 0.3))
            assert victim.line() == ("ready", [])
            time.sleep(chance.random() * 0.05)
            lines += victim.kill()
        until(lambda: kept(path) == [])
        survivor.line()
        lines += survivor.kill()
    claimed = {name for word, names in lines for name in names if word == "claimed"}
    acked = [name for word, names in lines for name in names if word == "acked"]
    assert claimed == set(names)
    assert len(acked) == len(set(acked))
    assert is_sound(path)


def test_a_forked_process_is_told_to_open_its_own(path: Path) -> None:
    words = [sys.executable, str(CHILD), "fork", str(path)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    refused, own, parent = map(json.loads, lines.splitlines())
    assert refused[0] == "refused"
    assert "open a layer of its own in each process" in refused[1][0]
    assert own == ["own", ["1"]]
    assert parent == ["parent", ["1"]]
