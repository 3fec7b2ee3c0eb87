"""The laws on the queue in PostgreSQL, on a real server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from acked.conformance import AckLayerLaws
from acked.conformance.harness import Call, Remains
from acked.layers.postgres_queue import PostgresQueueLayer
from tests.conformance.brokered import StoringHarness
from tests.conformance.clocks import wrong_clock

WRITES: Final[dict[Call, dict[str, str]]] = {
    "publish": {"INSERT": "true"},
    "receive": {"UPDATE": "NEW.lease <> 0 AND NEW.lease <> OLD.lease"},
    "settle": {"DELETE": "true", "UPDATE": "NEW.lease = 0 AND OLD.lease <> 0"},
    "extend": {"UPDATE": "NEW.lease <> 0 AND NEW.lease = OLD.lease AND NEW.due <> OLD.due"},
}
"""What each call does to which rows."""
DISK_FULL: Final = "53100"
INSUFFICIENT_PRIVILEGE: Final = "42501"


class PostgresQueueHarness(StoringHarness):
    recovery = 6.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.set_clock = wrong_clock

    async def refuse(self, topic: str) -> None:
        await self._execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no room'; END $$",
            # The first publish to a topic makes the keeper of what is published there.
            "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON acked.grp FOR EACH ROW "
            f"WHEN (NEW.topic = '{topic}') EXECUTE FUNCTION refuse()",
        )

    @asynccontextmanager
    async def busy(self, call: Call) -> AsyncGenerator[None]:
        async with self._saying_no(call, DISK_FULL):
            yield

    @asynccontextmanager
    async def forbid(self, call: Call) -> AsyncGenerator[None]:
        async with self._saying_no(call, INSUFFICIENT_PRIVILEGE):
            yield

    @asynccontextmanager
    async def _saying_no(self, call: Call, code: str) -> AsyncGenerator[None]:
        await self._execute(
            "CREATE OR REPLACE FUNCTION say_no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = TG_ARGV[0]; END $$",
            *(
                f"CREATE TRIGGER no_{verb} BEFORE {verb} ON acked.message FOR EACH ROW "
                f"WHEN ({rows}) EXECUTE FUNCTION say_no('{code}')"
                for verb, rows in WRITES[call].items()
            ),
        )
        try:
            yield
        finally:
            drops = [f"DROP TRIGGER no_{verb} ON acked.message" for verb in WRITES[call]]
            await self._execute(*drops)

    async def wipe(self, topic: str) -> None:
        await self._execute("DELETE FROM acked.message", "DELETE FROM acked.grp")

    async def kept(self, topic: str, group: str) -> Remains:
        messages = (
            "SELECT count(*), count(*) FILTER (WHERE name = $2 AND due > 0 AND lease <> 0) "
            "FROM acked.message JOIN acked.grp ON grp.id = message.grp WHERE topic = $1"
        )
        consumers = (
            "SELECT count(*) FROM acked.consumer JOIN acked.grp ON grp.id = consumer.grp "
            "WHERE topic = $1 AND name = $2"
        )
        connection = await asyncpg.connect(self.broker.url)
        try:
            kept, leases = await connection.fetchrow(messages, topic, group)
            return Remains(kept, leases, await connection.fetchval(consumers, topic, group))
        finally:
            await connection.close()

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.broker.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


class TestPostgresQueue(AckLayerLaws):
    @pytest.fixture
    def harness(self, module_broker, proxy) -> PostgresQueueHarness:
        broker = module_broker("postgres")
        between = proxy(broker)
        url = "postgres-queue://" + between.url.partition("://")[2] + "?timeout=3&poll=2"
        return PostgresQueueHarness(broker, between, url, PostgresQueueLayer.from_url)
