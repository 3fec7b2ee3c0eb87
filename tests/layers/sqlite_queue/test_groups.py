"""Groups of a queue file: removed, refused while somebody lives, and what killed listeners leave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from acked import Channel, fire_and_forget
from acked.errors import LayerError
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _removal as removal
from acked.types import Start
from tests.layers.sqlite_kit import (
    TIMEOUT,
    acks,
    consuming,
    kept,
    make,
    oracle,
    receive,
    seen,
    settle,
)

pytestmark = pytest.mark.anyio


async def test_a_group_with_an_idle_consumer_is_not_removed(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, SQLiteQueueLayer(path) as other:
        async with consuming(layer) as feed:
            await layer.publish(make("a"))
            await settle(feed, *acks(await receive(feed)))
            with pytest.raises(LayerError, match="has a consumer of 't'"):
                await other.remove_group(["t"], "g")
            await layer.publish(make("b"))
            assert seen(await receive(feed)) == [("b", 1)]
        await other.remove_group(["t"], "g")
    assert kept(path) == []


async def test_an_idle_consumer_says_again_and_again_that_it_lives(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acked.layers.sqlite_queue._presence.ALIVE_FOR", 0.3)
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.receive, 1)
            until = time.monotonic() + 1.0
            while time.monotonic() < until:  # three times as long as one sign of life counts
                with pytest.raises(LayerError, match="has a consumer"):
                    await layer.remove_group(["t"], "g")
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()


async def test_a_killed_consumer_keeps_its_group_for_so_long_and_no_longer(path: Path) -> None:
    clock = [1000.0]
    async with SQLiteQueueLayer(path, time=lambda: clock[0]) as layer:
        async with SQLiteQueueLayer(path, time=lambda: clock[0]) as killed:
            context = consuming(killed)
            await context.__aenter__()  # never left
            clock[0] += removal.ALIVE_FOR - 1
            with pytest.raises(LayerError, match="that was killed"):
                await layer.remove_group(["t"], "g")
            clock[0] += 1
            await layer.remove_group(["t"], "g")


async def test_all_of_a_large_group_goes_and_what_others_owe_stays(path: Path) -> None:
    count = 2 * removal.PAGE + 5
    names = [str(number) for number in range(count)]
    async with SQLiteQueueLayer(path, durability="normal") as layer:
        async with consuming(layer, group="gone") as gone, consuming(layer, group="stays") as stays:
            await layer.publish(make(*names))
            await receive(gone, removal.PAGE + 500)
            await settle(stays, *acks(await receive(stays, count - 3)))
        await layer.remove_group(["t", "unknown"], "gone")
        assert kept(path) == names[-3:]
        with oracle(path) as db:
            assert db.execute("SELECT name FROM grp").fetchall() == [("stays",)]
            assert db.execute("SELECT count(*) FROM debt").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM consumer").fetchone() == (0,)


async def test_what_comes_after_a_removal_is_kept_for_a_group_to_come(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        async with consuming(layer):
            await layer.publish(make("a"))
        await layer.remove_group(["t"], "g")
        await layer.publish(make("b"))
        async with consuming(layer) as feed:
            assert seen(await receive(feed)) == [("b", 1)]


async def test_a_removal_that_was_interrupted_is_finished_by_whoever_comes_by(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        async with consuming(layer, group="gone"):
            await layer.publish(make(*map(str, range(2 * removal.PAGE))))
        with layer._access.file.transaction() as db:  # as `remove_group` begins
            assert removal.end(db, "t", "gone", now=time.time(), awake=time.monotonic() + 99)
    async with SQLiteQueueLayer(path) as layer:
        while kept(path):
            await layer.publish(make("other", topic="u"))
            with oracle(path) as db:
                db.execute("DELETE FROM message WHERE topic = 'u'")


def groups(path: Path) -> int:
    with oracle(path) as db:
        ((count,),) = db.execute("SELECT count(*) FROM grp").fetchall()
    return int(count)


LISTENER = """
import sys
import anyio
from acked import Channel, fire_and_forget
from acked.layers.sqlite_queue import SQLiteQueueLayer

async def main():
    async with Channel(fire_and_forget(SQLiteQueueLayer(sys.argv[1]))) as channel:
        async with channel.subscribe("t"), channel.subscribe("t"):
            print("listening", flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


async def test_what_a_killed_listener_leaves_behind_is_swept_and_the_living_are_spared(
    path: Path,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "listening\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    async with SQLiteQueueLayer(path) as publisher:
        await publisher.publish(make("1"))
        with oracle(path) as db:  # time passes for the dead
            passed = removal.ALIVE_FOR + removal.DEAD_AFTER
            db.execute(f"UPDATE consumer SET until = until - {passed}")
        async with (
            Channel(fire_and_forget(SQLiteQueueLayer(path))) as news,
            news.subscribe("t") as living,
        ):
            publisher._access._sweep_due = 0.0
            with anyio.fail_after(TIMEOUT):
                while "1" in kept(path):
                    await publisher.publish(make("2"))
                while groups(path) > 1:
                    await publisher.publish(make("2"))
            assert (await anext(living)).id == "2"


async def test_a_listener_that_was_swept_is_told_and_gets_nothing_twice(path: Path) -> None:
    clock = [1000.0]
    async with SQLiteQueueLayer(path, time=lambda: clock[0]) as layer:
        group = f"{removal.LISTENERS}asleep"
        async with consuming(layer, group=group, start=Start.LATEST) as feed:
            await layer.publish(make("a"))
            clock[0] += removal.ALIVE_FOR + removal.DEAD_AFTER + 1
            with layer._access.file.transaction() as db:
                removal.end_dead_listeners(db, clock[0])
            with pytest.raises(LayerError, match="silent for too long"):
                await receive(feed)
