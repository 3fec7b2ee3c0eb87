"""The queue file itself: who may read it, its clock, its size, its versions, and when it is full."""

import resource
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import anyio
import pytest

from acked import Channel
from acked.errors import ConfigurationError, LayerError, PublishFailed
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._claim import PAGE
from acked.layers.sqlite_queue._clock import FileClock
from acked.types import Finding, Record, Severity
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LEASE,
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

MEBIBYTE = 1024 * 1024


def permissions(path: Path) -> set[str]:
    return {oct(stat.S_IMODE(one.stat().st_mode)) for one in path.parent.iterdir()}


async def test_a_new_file_and_those_beside_it_are_their_owners_alone(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer:
        await layer.publish(make("a"))
        assert {one.suffix for one in path.parent.iterdir()} == {".db", ".db-wal", ".db-shm"}
        assert permissions(path) == {"0o600"}
    async with SQLiteQueueLayer.from_url(f"sqlite-queue://{path.parent}/shared.db?mode=0640"):
        assert stat.S_IMODE(path.with_name("shared.db").stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", ["rw", "0999", "06600", ""])
def test_a_mode_that_is_none_is_refused(mode: str) -> None:
    with pytest.raises(ConfigurationError, match="three octal digits"):
        SQLiteQueueLayer.from_url(f"sqlite-queue:///q.db?mode={mode}")


async def checked(layer: SQLiteQueueLayer) -> dict[str, Finding]:
    async with layer:
        return {finding.name: finding for finding in await layer.check()}


async def test_check_tells_what_the_file_promises(path: Path) -> None:
    found = await checked(SQLiteQueueLayer(path))
    assert {one.severity for one in found.values()} == {Severity.OK}
    assert found["server_version"].value == sqlite3.sqlite_version
    assert "is on disk when it returns" in found["persistence"].message
    path.chmod(0o644)
    found = await checked(SQLiteQueueLayer(path, durability="normal"))
    assert "may undo the last ones" in found["persistence"].message
    assert found["persistence"].severity is Severity.NOTICE
    assert (found["file_mode"].value, found["file_mode"].severity) == ("0644", Severity.NOTICE)


async def test_a_file_that_was_emptied_is_small_again(path: Path) -> None:
    count, body = 3000, b"x" * 20_000
    async with SQLiteQueueLayer(path, durability="normal") as layer, consuming(layer) as feed:
        for start in range(0, count, 500):
            await layer.publish([Record("t", body, str(start + n)) for n in range(500)])
        largest = path.stat().st_size
        assert largest > 50 * MEBIBYTE
        left = count
        while left:
            batch = await receive(feed, 100)
            assert set(await settle(feed, *acks(batch))) == {CONFIRMED}
            left -= len(batch)
    assert kept(path) == []
    assert path.stat().st_size < 6 * MEBIBYTE


def old_schema() -> list[str]:
    """Return what made a file of version 1."""
    indexes = (sql._DELAYED_SINCE_4, sql._RANKED_SINCE_5)
    later = (*sql._SINCE_2, *sql._KEY_ORDER_SINCE_4, *sql._TURNS_SINCE_6, *indexes)
    first = [one for one in sql.SCHEMA if one not in later]
    return [
        one.replace("        fetched INTEGER NOT NULL DEFAULT 0,\n        ended INTEGER,\n", "")
        .replace(
            "        failures INTEGER NOT NULL DEFAULT 0,\n        alone INTEGER NOT NULL DEFAULT 0,\n",
            "",
        )
        .replace("        in_order INTEGER NOT NULL DEFAULT 0,\n", "")
        .replace("        ranked INTEGER NOT NULL DEFAULT 0,\n", "")
        .replace("        turn INTEGER NOT NULL DEFAULT 0,\n", "")
        .replace("        rank INTEGER NOT NULL DEFAULT 0,\n", "")
        .replace("        key TEXT,\n        PRIMARY", "        PRIMARY")
        .replace(",\n        due REAL NOT NULL DEFAULT 0", "")
        .replace(",\n        expires REAL NOT NULL DEFAULT 0", "")
        .replace(",\n        priority INTEGER NOT NULL DEFAULT 0", "")
        for one in first
    ] + ["PRAGMA user_version = 1"]


async def test_a_file_of_an_earlier_version_is_made_ours_with_all_it_owes(path: Path) -> None:
    with oracle(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in old_schema():
            db.execute(statement)
        for name in "abcd":
            db.execute(
                "INSERT INTO message (topic, id, content_type, timestamp, body) "
                "VALUES ('t', ?, 'x/y', 1.0, x'')",
                (name,),
            )
        db.execute("INSERT INTO grp (topic, name, cursor) VALUES ('t', 'g', 2)")
        db.execute("INSERT INTO debt VALUES (1, 2, 0, 0, 4)")
        db.execute("DELETE FROM message WHERE id = 'a'")
    found = await checked(SQLiteQueueLayer(path))
    assert found["free_bytes"].severity is Severity.NOTICE
    assert "auto_vacuum=2; VACUUM" in found["free_bytes"].message
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        assert seen(await receive(feed, 1)) == [("b", 5)]
        assert feed.lag() == 2  # type: ignore[attr-defined]
        await layer.publish(make("e"))
        assert seen(await receive(feed)) == [("c", 1), ("d", 1), ("e", 1)]
        assert feed.lag() == 0  # type: ignore[attr-defined]
    with oracle(path) as db:
        fresh = sqlite3.connect(":memory:")
        for statement in sql.SCHEMA:
            fresh.execute(statement)
        columns = [
            [row[1] for row in one.execute(f"PRAGMA table_info({table})")]
            for one in (db, fresh)
            for table in ("message", "topic", "grp", "debt", "consumer", "clock")
        ]
        assert columns[: len(columns) // 2] == columns[len(columns) // 2 :]
        fresh.close()


BEHIND = """
import sys, time
really = time.time
time.time = lambda: really() - 3600
import anyio
from acked import Channel
from acked.layers.sqlite_queue import SQLiteQueueLayer

async def main():
    async with Channel(SQLiteQueueLayer(sys.argv[1])) as channel:
        async with channel.subscribe("t", group="g", lease=5.0) as subscription:
            delivery = await anext(subscription)
            print(delivery.body, delivery.attempt)
            await delivery.ack()

anyio.run(main)
"""


@pytest.mark.skipif(not FileClock().boot, reason="this system does not tell its starts apart")
async def test_a_clock_that_is_set_back_freezes_no_lease(path: Path) -> None:
    """For a process that lives an hour behind, leases end when they do for all others."""
    async with SQLiteQueueLayer(path) as layer, consuming(layer, lease=0.3) as holder:
        await layer.publish([Record("t", b'"a"', "a", timestamp=time.time())])
        await receive(holder)
        child = [sys.executable, "-c", BEHIND, str(path)]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(child, capture_output=True, text=True, timeout=20, check=False)
        )
        assert done.stdout == "a 2\n", done.stderr


def test_the_clock_goes_on_across_a_restart_of_the_machine(path: Path) -> None:
    with oracle(path) as db:
        for statement in sql.SCHEMA:
            db.execute(statement)
        db.execute("INSERT INTO clock VALUES ('an earlier start', 5.0)")
        db.execute("INSERT INTO consumer VALUES (1, 1, 1e12)")
    layer = SQLiteQueueLayer(path)

    async def look() -> None:
        async with layer:
            assert abs(layer._access.time() - time.time()) < 5

    anyio.run(look)
    with oracle(path) as db:
        ((boot, base),) = db.execute(sql.READ_CLOCK).fetchall()
        assert boot == FileClock().boot
        assert base > 5.0
        assert db.execute("SELECT count(*) FROM consumer").fetchone() == (0,)


@contextmanager
def no_file_may_grow(layer: SQLiteQueueLayer) -> Iterator[None]:
    """Refuse this process every write, as a quota does: SQLITE_IOERR."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_page_is_left(layer: SQLiteQueueLayer) -> Iterator[None]:
    """Let the file have no page more by this layer: SQLITE_FULL, as of a full disk."""
    db = layer._access.file._db
    assert db is not None
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        db.execute("PRAGMA max_page_count = 1000000")


PUBLISHER = """
import resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
import anyio
from acked import Channel
from acked.layers.sqlite_queue import SQLiteQueueLayer

async def main():
    async with Channel(SQLiteQueueLayer(sys.argv[1])) as channel:
        await channel.publish_many("t", range(int(sys.argv[2])))

anyio.run(main)
"""


@pytest.mark.parametrize("trouble", [no_file_may_grow, no_page_is_left])
async def test_a_consumer_outlives_a_disk_that_takes_nothing_for_a_while(
    path: Path,
    trouble: Callable[[SQLiteQueueLayer], AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    count, layer = 2000, SQLiteQueueLayer(path, poll=0.01)
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", in_flight=count) as subscription,
        anyio.create_task_group() as tasks,
    ):
        got: list[tuple[object, int]] = []

        async def read() -> None:
            async for batch in subscription.batches(count):
                got.extend((delivery.body, delivery.attempt) for delivery in batch)
                await batch.ack()

        tasks.start_soon(read)
        with trouble(layer), anyio.fail_after(TIMEOUT):
            child = [sys.executable, "-c", PUBLISHER, str(path), str(count)]
            await anyio.to_thread.run_sync(lambda: subprocess.run(child, check=True))
            while "refused for now" not in caplog.text:
                await anyio.sleep(0.01)
            with pytest.raises(PublishFailed, match=r"has no room|could not be read or written"):
                await channel.publish_many("t", ["x" * 1000] * 1000)
        with anyio.fail_after(TIMEOUT):
            while subscription.statistics().acked < count:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert got == [(number, 1) for number in range(count)]
    # What may pass is told as it is.
    assert "connection lost" not in caplog.text


async def test_an_ack_that_a_full_disk_refuses_is_a_refusal_and_may_be_tried_again(
    path: Path,
) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        batch = await receive(feed)
        with no_file_may_grow(layer):
            answers = await settle(feed, *acks(batch))
            assert [type(one) for one in answers] == [LayerError, LayerError]
            assert all("could not be read or written" in str(one) for one in answers)
            (refused,) = await feed.extend([batch[0].token], LEASE)
            assert isinstance(refused, LayerError)
            assert refused.may_pass
        assert await settle(feed, *acks(batch)) == [CONFIRMED, CONFIRMED]
    assert kept(path) == []


async def test_a_layer_that_is_used_from_another_loop_says_so_and_goes_on(path: Path) -> None:
    """In a thread of its own, with a loop of its own; neither of them hangs."""

    def elsewhere(use: Callable[[], object]) -> None:
        with pytest.raises(LayerError, match="opened in another event loop"):
            anyio.run(use)

    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:

        async def publishes() -> None:
            await layer.publish(make("b"))

        async def receives() -> None:
            await feed.receive(1)

        async def enters() -> None:
            async with layer:
                pass

        with anyio.fail_after(TIMEOUT):
            for use in (publishes, receives, enters):
                await anyio.to_thread.run_sync(elsewhere, use)
        await layer.publish(make("a"))
        assert seen(await receive(feed)) == [("a", 1)]


async def test_what_a_dead_consumer_held_is_freed_by_pages(path: Path) -> None:
    """However much it was: nobody waits for more than a page, and each is given out in order."""
    count, clock = 3 * PAGE + 17, [1000.0]
    async with SQLiteQueueLayer(path, durability="normal", time=lambda: clock[0]) as layer:
        async with consuming(layer) as dead, consuming(layer) as feed:
            await layer.publish(make(*map(str, range(count))))
            assert len(await receive(dead, count)) == count
            clock[0] += LEASE
            await layer.publish(make("fresh"))
            got = seen(await receive(feed, 10))
            with oracle(path) as db:
                ((free,),) = db.execute("SELECT count(*) FROM debt WHERE due = 0").fetchall()
            assert free == PAGE  # beyond what it took
            while len(got) <= count:
                got += seen(await receive(feed, 700))
            assert got == [*((str(number), 2) for number in range(count)), ("fresh", 1)]
