"""The laws on the SQLite queue, in real time, on asyncio and trio."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import pytest

from acked.conformance import AckLayerLaws, Harness, law_of
from acked.conformance.harness import Call, Remains
from acked.layers.sqlite_queue import SQLiteQueueLayer
from tests.conformance.clocks import wrong_clock

WRITES: Final[dict[Call, tuple[str, ...]]] = {
    "publish": ("INSERT ON message",),
    "receive": (
        "INSERT ON debt WHEN NEW.lease > 0",
        "UPDATE ON debt WHEN NEW.lease > 0 AND NEW.lease <> OLD.lease",
    ),
    "settle": ("DELETE ON debt", "UPDATE ON debt WHEN NEW.lease = 0 AND OLD.lease > 0"),
    "extend": ("UPDATE OF due ON debt WHEN NEW.lease > 0 AND NEW.lease = OLD.lease",),
}
"""What each call writes."""


class SQLiteHarness(Harness):
    recovery = 4.0
    examples = 12

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self.url = f"sqlite-queue://{path}?busy_timeout={busy_timeout}"
        self.set_clock = wrong_clock

    def layer(self) -> SQLiteQueueLayer:
        return SQLiteQueueLayer.from_url(self.url)

    async def refuse(self, topic: str) -> None:
        self._execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON message WHEN NEW.topic = '{topic}' "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )

    @asynccontextmanager
    async def busy(self, call: Call) -> AsyncGenerator[None]:
        """Be another process in the midst of its writing."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
            file.execute("ROLLBACK")

    @asynccontextmanager
    async def forbid(self, call: Call) -> AsyncGenerator[None]:
        no = "BEGIN SELECT RAISE(ABORT, 'not allowed'); END"
        names = [f"no_{number}" for number, _ in enumerate(WRITES[call])]
        triggers = zip(names, WRITES[call], strict=True)
        self._execute(*(f"CREATE TRIGGER {name} BEFORE {what} {no}" for name, what in triggers))
        yield
        self._execute(*(f"DROP TRIGGER {name}" for name in names))

    async def wipe(self, topic: str) -> None:
        self._execute("DELETE FROM debt", "DELETE FROM grp", "DELETE FROM message")

    async def kept(self, topic: str, group: str) -> Remains:
        debts = (
            "SELECT count(*) FROM debt JOIN grp ON grp.id = debt.grp "
            "WHERE topic = ? AND name = ? AND debt.due > 0 AND lease <> 0"
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
    def harness(self, request: pytest.FixtureRequest, tmp_path: Path) -> SQLiteHarness:
        """Be patient with a busy machine, but not where the file is locked on purpose."""
        law = law_of(request.function)
        is_locked = law is not None and any(hook.startswith("busy ") for hook in law.hooks)
        return SQLiteHarness(tmp_path / "queue.db", 0.2 if is_locked else 5.0)
