"""The laws on the queue in PostgreSQL, on a real server."""

import asyncpg
import pytest

from acked.conformance import AckLayerLaws
from acked.conformance.harness import Remains
from acked.layers.postgres_queue import PostgresQueueLayer
from tests.conformance.brokered import BrokerHarness


class PostgresQueueHarness(BrokerHarness):
    recovery = 6.0

    async def refuse(self, topic: str) -> None:
        await self._execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no room'; END $$",
            # The first publish to a topic makes the keeper of what is published there.
            "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON acked.grp FOR EACH ROW "
            f"WHEN (NEW.topic = '{topic}') EXECUTE FUNCTION refuse()",
        )

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
