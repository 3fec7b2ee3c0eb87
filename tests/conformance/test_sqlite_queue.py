"""The laws on the SQLite queue, in real time, on asyncio and trio."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from acked.conformance import AckLayerLaws, Harness
from acked.conformance.harness import Remains
from acked.layers.sqlite_queue import SQLiteQueueLayer


class SQLiteHarness(Harness):
    recovery = 4.0
    examples = 12

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite-queue://{path}"

    def layer(self) -> SQLiteQueueLayer:
        return SQLiteQueueLayer.from_url(self.url)

    async def refuse(self, topic: str) -> None:
        self._execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON message WHEN NEW.topic = '{topic}' "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )

    async def wipe(self, topic: str) -> None:
        self._execute("DELETE FROM debt", "DELETE FROM grp", "DELETE FROM message")

    async def kept(self, topic: str, group: str) -> Remains:
        debts = (
            "SELECT count(*) FROM debt JOIN grp ON grp.id = debt.grp "
            "WHERE topic = ? AND name = ? AND due > 0 AND lease <> 0"
        )
        consumers = (
            "SELECT count(*) FROM consumer JOIN grp ON grp.id = consumer.grp "
            "WHERE topic = ? AND name = ?"
        )
        with closing(sqlite3.connect(self.path)) as file:
            (messages,) = file.execute(
                "SELECT count(*) FROM message WHERE topic = ?", (topic,)
            ).fetchone()
            (leases,) = file.execute(debts, (topic, group)).fetchone()
            (alive,) = file.execute(consumers, (topic, group)).fetchone()
        return Remains(messages, leases, alive)

    def _execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as file, file:
            for statement in statements:
                file.execute(statement)


class TestSQLiteQueue(AckLayerLaws):
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def harness(self, tmp_path: Path) -> SQLiteHarness:
        return SQLiteHarness(tmp_path / "queue.db")
