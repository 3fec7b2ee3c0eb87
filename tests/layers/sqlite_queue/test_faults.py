"""A queue file under cancellation, locks, a full disk, wrong files and wrong options."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from acked.abc import AckFeed
from acked.errors import ConfigurationError, ConnectionLost, LayerError, PublishFailed
from acked.layers.sqlite_queue import SQLiteQueueLayer
from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue._file import QueueFile
from acked.types import Record
from tests.layers.sqlite_kit import (
    CONFIRMED,
    LOST,
    TIMEOUT,
    acks,
    consuming,
    kept,
    make,
    oracle,
    receive,
    seen,
    settle,
    tokens,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_receives_cancelled_at_random_moments_lose_nothing(path: Path) -> None:
    chance = random.Random(7)
    names = [str(number) for number in range(300)]
    got: list[tuple[str, int]] = []
    async with SQLiteQueueLayer(path, durability="normal") as layer, consuming(layer) as feed:
        await layer.publish(make(*names))
        while len(got) < len(names):
            with anyio.move_on_after(chance.random() * 0.002):
                batch = await feed.receive(3)
                got += seen(batch)
                with anyio.CancelScope(shield=True):
                    await settle(feed, *acks(batch))
    assert got == [(name, 1) for name in names]
    assert kept(path) == []


class Gate:
    """A clock that stops the thread which reads it, in the midst of its transaction."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def time(self) -> float:
        self.entered.set()
        assert self.open.wait(TIMEOUT)
        return time.time()

    async def cancelled_within(self, feed: AckFeed) -> list[tuple[str, int]]:
        """Cancel a receive while its claim runs; return what it returned all the same."""
        self.entered.clear()
        self.open.clear()
        got: list[tuple[str, int]] = []

        async def receives() -> None:
            got.extend(seen(await feed.receive(100)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receives)
            await anyio.to_thread.run_sync(self.entered.wait, TIMEOUT)
            tasks.cancel_scope.cancel()
            self.open.set()
        return got

    async def cancelled_by_asyncio_within(self, feed: AckFeed) -> list[tuple[str, int]]:
        """Do the same by `Task.cancel`, which does not wait for the thread."""
        self.entered.clear()
        self.open.clear()
        task = asyncio.create_task(feed.receive(100))
        await anyio.to_thread.run_sync(self.entered.wait, TIMEOUT)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)
        self.open.set()
        return []


async def test_a_receive_cancelled_within_its_claim_loses_nothing(path: Path) -> None:
    gate = Gate()
    async with SQLiteQueueLayer(path, time=gate.time) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        got = await gate.cancelled_within(feed)
        assert (got or seen(await receive(feed))) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_receive_cancelled_by_asyncio_within_its_claim_loses_nothing(
    path: Path, anyio_backend: str
) -> None:
    gate = Gate()
    async with SQLiteQueueLayer(path, time=gate.time) as layer:
        await layer.publish(make("a", "b"))
        async with consuming(layer) as feed:
            await gate.cancelled_by_asyncio_within(feed)
            assert seen(await receive(feed)) == [("a", 1), ("b", 1)]
        async with consuming(layer) as feed:
            await gate.cancelled_by_asyncio_within(feed)
        async with consuming(layer) as feed:  # what that claim had leased was given back on leaving
            assert seen(await receive(feed)) == [("a", 2), ("b", 2)]


async def test_a_transaction_that_fails_changes_nothing_and_the_next_one_works(path: Path) -> None:
    unstorable = Record("t", object(), "b")  # type: ignore[arg-type]
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        with pytest.raises(PublishFailed, match="refused by SQLite"):
            await layer.publish([*make("a"), unstorable])
        await layer.publish(make("c"))
        assert seen(await receive(feed)) == [("c", 1)]


def test_two_processes_may_make_the_file_at_once(path: Path) -> None:
    with oracle(path) as other:
        other.execute("BEGIN IMMEDIATE")

        def pause() -> None:
            if other.in_transaction:
                for statement in sql.SCHEMA:
                    other.execute(statement)
                other.execute("COMMIT")

        file = QueueFile(path, durability="full", busy_timeout=TIMEOUT, pause=pause)
        file.open()
        with file.transaction() as db:
            assert db.execute("SELECT count(*) FROM message").fetchone() == (0,)
        file.close()


async def test_a_cancelled_publish_is_whole_or_absent(path: Path) -> None:
    chance = random.Random(7)
    async with SQLiteQueueLayer(path) as layer:
        for turn in range(30):
            with anyio.move_on_after(chance.random() * 0.002):
                await layer.publish(make(*(f"{turn}.{part}" for part in range(20))))
        await layer.publish(make("after"))
    names = kept(path)
    assert names.pop() == "after"
    turns = [name.partition(".")[0] for name in names]
    assert all(turns.count(turn) == 20 for turn in turns)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock as another process would."""
    with oracle(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


async def test_a_locked_file_says_so_and_works_again_afterwards(path: Path) -> None:
    async with SQLiteQueueLayer(path, busy_timeout=0.05) as layer, consuming(layer) as feed:
        await layer.publish(make("a"))
        batch = await receive(feed)
        with locked(path):
            with pytest.raises(PublishFailed, match="locked by another process") as caught:
                await layer.publish(make("b", "c"))
            assert set(caught.value.failures) == {0, 1}
            assert not caught.value.indeterminate
            for answers in (await settle(feed, *acks(batch)), await feed.extend(tokens(batch), 1)):
                (refused,) = answers
                assert isinstance(refused, LayerError)
                assert "locked by another process" in str(refused)
                assert refused.may_pass
                assert not isinstance(refused, ConnectionLost)
            with pytest.raises(LayerError, match="locked by another process"):
                await feed.receive(1)
            await feed.release(tokens(batch))
        assert await settle(feed, *acks(batch)) == [CONFIRMED]


async def test_waiting_for_a_locked_file_can_be_cancelled(path: Path) -> None:
    async with SQLiteQueueLayer(path, busy_timeout=60.0) as layer, consuming(layer) as feed:
        await layer.publish(make("a"))
        await receive(feed)
        with locked(path):
            with anyio.fail_after(TIMEOUT), anyio.move_on_after(0.02) as scope:
                await layer.publish(make("b"))
            assert scope.cancelled_caught
            with anyio.fail_after(TIMEOUT), anyio.move_on_after(0.02) as scope:
                await feed.receive(1)
            assert scope.cancelled_caught
    assert kept(path) == ["a"]


async def test_a_cancelled_opening_or_closing_leaves_nothing_open(path: Path) -> None:
    layer = SQLiteQueueLayer(path, busy_timeout=60.0)
    with locked(path):
        with anyio.fail_after(TIMEOUT), anyio.move_on_after(0.02) as scope:
            await layer.__aenter__()
        assert scope.cancelled_caught
        assert layer._access.file._db is None
    with anyio.CancelScope() as scope:
        async with layer:
            assert layer._access.file._db is not None
            scope.cancel()
    assert layer._access.file._db is None


async def test_a_deleted_file_is_told_once_and_the_group_goes_on_in_the_new_one(path: Path) -> None:
    async with SQLiteQueueLayer(path, poll=0.01) as layer, consuming(layer) as feed:
        await layer.publish(make("a", "b"))
        stale = await receive(feed, 1)
        for file in path.parent.iterdir():
            file.unlink()
        with pytest.raises(ConnectionLost, match="deleted or replaced"):
            await feed.receive(1)
        await layer.publish(make("c"))
        assert seen(await receive(feed)) == [("c", 1)]
        assert await settle(feed, *acks(stale)) == [LOST]


async def test_a_full_disk_changes_nothing_and_says_so(path: Path) -> None:
    async with SQLiteQueueLayer(path) as layer, consuming(layer) as feed:
        await layer.publish(make("a"))
        assert layer._access.file._db is not None
        layer._access.file._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(PublishFailed, match="the disk is full; free some"):
            await layer.publish([Record("t", b"x" * 100_000, "b")])
        assert seen(await receive(feed)) == [("a", 1)]
        assert kept(path) == ["a"]


def a_directory(path: Path) -> Path:
    path.mkdir()
    return path


def of_another_program(path: Path) -> Path:
    with oracle(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    return path


def of_a_later_version(path: Path) -> Path:
    with oracle(path) as db:
        for statement in (*sql.SCHEMA, "PRAGMA user_version = 99"):
            db.execute(statement)
    return path


def of_no_database(path: Path) -> Path:
    path.write_bytes(b"dear diary, " * 1000)
    return path


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path / "missing" / "q.db", "create its directory"),
        (a_directory, "cannot be opened"),
        (of_no_database, "not an SQLite database"),
        (of_another_program, "another program"),
        (of_a_later_version, "upgrade acked"),
    ],
)
async def test_a_file_that_is_no_queue_is_refused_and_left_alone(
    path: Path, spoil: Callable[[Path], Path], words: str
) -> None:
    path = spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LayerError, match=words) as caught:
        async with SQLiteQueueLayer(path):
            pass
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write read-only files")
async def test_a_read_only_file_says_so(path: Path) -> None:
    async with SQLiteQueueLayer(path):
        pass
    path.chmod(0o400)
    with pytest.raises(LayerError, match="is read-only; let this user write"):
        async with SQLiteQueueLayer(path) as layer:
            await layer.publish(make("a"))


async def test_a_layer_that_is_not_open_refuses(path: Path) -> None:
    layer = SQLiteQueueLayer(path)
    with pytest.raises(LayerError, match="is not open"):
        await layer.publish(make("a"))
    async with layer:
        pass
    with pytest.raises(LayerError, match="is not open"):
        async with consuming(layer):
            pass


def test_a_url_names_the_file_and_its_options() -> None:
    from_url = SQLiteQueueLayer.from_url
    assert from_url("sqlite-queue:///var/my%20q.db?poll=0.5").path == Path("/var/my q.db")
    assert from_url("sqlite-queue://sub/q.db?durability=normal").path == Path.cwd() / "sub/q.db"
    assert repr(from_url("sqlite-queue:///q.db?busy_timeout=1")) == "<SQLiteQueueLayer '/q.db'>"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite-queue:///q.db?pol=1", "unknown option 'pol'"),
        ("sqlite-queue:///q.db?poll=often", "'poll' must be a number"),
        ("sqlite-queue:///q.db?poll=0", "poll must be more than 0"),
        ("sqlite-queue:///q.db?busy_timeout=inf", "busy_timeout must be more than 0"),
        ("sqlite-queue:///q.db?durability=some", "durability must be full or normal"),
        ("sqlite-queue:///q#1.db", "write %23"),
        ("sqlite-queue://:memory:", "MemoryQueueLayer"),
        ("sqlite-queue://", "MemoryQueueLayer"),
    ],
)
def test_a_wrong_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SQLiteQueueLayer.from_url(url)
