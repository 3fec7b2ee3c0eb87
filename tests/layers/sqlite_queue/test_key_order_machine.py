"""The order of keys in a queue file is what a machine counts it to be; also in pages of one."""

import sqlite3
from typing import Any

from hypothesis import settings

from acked.layers.sqlite_queue import _sql as sql
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._key_order import ClaimInOrder, keep_keys
from acked.layers.sqlite_queue._rows import row_of
from acked.layers.sqlite_queue._turns import Turns
from acked.types import Record, Settlement, Start, Verb
from tests.layers.key_order_kit import LEASE, KeyOrderMachine


class SQLiteKeyOrder(KeyOrderMachine):
    parks = ClaimInOrder._parks_left

    def begin(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for statement in sql.SCHEMA:
            self.db.execute(statement)
        grp = store.join(self.db, "t", "g", Start.EARLIEST)
        keep_keys(self.db, grp)
        self.turns = Turns("g", [grp])

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()

    def publish(self, key: str | None) -> int:
        return store.publish(self.db, [row_of(Record("t", b"", "id", key), self.now)])[0]

    def claim(self, consumer: int, limit: int) -> list[tuple[int, Any]]:
        held = {one.token for one in self.owed.values() if one.holder == consumer}
        taken: list[tuple[int, Any]] = []
        while len(taken) < limit:
            claim = ClaimInOrder(self.db, lease=LEASE, now=self.now, held=held)
            claim._parks_left = self.parks
            claim.take(self.turns, limit - len(taken))
            taken += [(int(one.position), one.token) for one in claim.batch]
            held |= {one.token for one in claim.batch}
            if claim.due > self.now:
                break
        return taken

    def ack(self, consumer: int, token: Any) -> None:
        store.settle(self.db, [Settlement(token, Verb.ACK)], self.now)

    def nack(self, consumer: int, token: Any, delay: float) -> None:
        store.settle(self.db, [Settlement(token, Verb.NACK, delay)], self.now)

    def release(self, consumer: int, token: Any) -> None:
        store.release(self.db, [token])

    def lag(self) -> int:
        return self.turns.lag(self.db)


class SQLiteKeyOrderByOnes(SQLiteKeyOrder):
    parks = 1


TestSQLiteKeyOrder = SQLiteKeyOrder.TestCase
TestSQLiteKeyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSQLiteKeyOrderByOnes = SQLiteKeyOrderByOnes.TestCase
TestSQLiteKeyOrderByOnes.settings = TestSQLiteKeyOrder.settings
