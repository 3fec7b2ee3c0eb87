"""`channel.check()` on a queue in PostgreSQL: facts of the real server, and what is said of them."""

import pytest

from acked import Channel, Severity
from acked.layers._postgres.findings import WayThere
from acked.layers.postgres_queue import PostgresQueueLayer
from acked.layers.postgres_queue._findings import QueueSituation, queue_findings
from acked.types import Finding
from tests.layers.postgres_kit import TransactionPooler, connected, fresh, until

pytestmark = pytest.mark.anyio

HERE = QueueSituation(True, False, WayThere(is_verified=True, is_local=False, has_password=True))

FACTS = {
    "server_version": "15.3",
    "server_version_num": 150003,
    "encoding": "UTF8",
    "tls": True,
    "standby": False,
    "synchronous_commit": "on",
    "fsync": "on",
    "standby_names": "*",
    "replicas": 1,
    "autovacuum": "on",
    "never_vacuumed": False,
    "dead": 100,
    "live": 0,
    "oldest_transaction": None,
    "missing_rights": [],
    "skew": 0.0,
    "oldest_unsettled": None,
}


async def checked(url: str, **options) -> dict[str, Finding]:
    async with Channel(PostgresQueueLayer(url, **options)) as channel:
        return {finding.name: finding for finding in await channel.check()}


def bad(found: dict[str, Finding]) -> set[str]:
    return {name for name, one in found.items() if one.severity is Severity.WARNING}


async def test_a_sound_server_is_told_fact_by_fact_without_a_warning(postgres_broker) -> None:
    topic = fresh()
    async with Channel(PostgresQueueLayer(postgres_broker.url)) as channel:
        await channel.publish(topic, 1)
        found = {finding.name: finding for finding in await channel.check()}
        assert not bad(found)
        assert found["synchronous_commit"].value == "on"
        assert found["autovacuum"].value is True
        assert found["missing_rights"].value == ""
        assert found["oldest_unsettled"].value >= 0
        assert abs(found["clock_skew"].value) < 1
        assert found["notifications"].value is None
        async with channel.subscribe(topic, group="g") as subscription:
            await (await anext(subscription)).ack()
            await until(lambda: channel.layer._wakeups.is_live)
            found = {finding.name: finding for finding in await channel.check()}
            assert found["notifications"].value is True
        await channel.remove_group(topic, group="g")


async def test_a_role_that_may_lose_and_may_not_delete_is_told(private_broker) -> None:
    broker = private_broker("postgres")
    async with Channel(PostgresQueueLayer(broker.url)), connected(broker.url) as admin:
        await admin.execute("create role poor login")
        await admin.execute("alter role poor set synchronous_commit = off")
        await admin.execute("grant usage on schema acked to poor")
        await admin.execute("grant select, insert, update on all tables in schema acked to poor")
        await admin.execute("alter table acked.message set (autovacuum_enabled = off)")
    found = await checked(broker.url.replace("acked@", "poor@"), migrate=False)
    assert bad(found) == {"synchronous_commit", "missing_rights", "autovacuum"}
    assert "message: DELETE" in found["missing_rights"].value
    assert "message_seq: USAGE" in found["missing_rights"].value
    assert "INSERT" not in found["missing_rights"].value


async def test_a_transaction_pooler_is_told(postgres_broker) -> None:
    pooler = TransactionPooler(int(postgres_broker.url.rpartition(":")[2].partition("/")[0]))
    async with pooler.running() as url:
        found = await checked(url, pooled=True)
    assert found["notifications"].severity is Severity.NOTICE
    assert found["notifications"].value is False


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {}),
        ({"server_version_num": 110000}, {"server_version": Severity.WARNING}),
        ({"standby": True}, {"standby": Severity.WARNING}),
        ({"fsync": "off"}, {"synchronous_commit": Severity.WARNING}),
        ({"standby_names": ""}, {"replicas": Severity.NOTICE}),
        ({"autovacuum": "off"}, {"autovacuum": Severity.WARNING}),
        ({"dead": 20_001, "live": 6000}, {"dead_rows": Severity.NOTICE}),
        ({"dead": 20_001, "live": 7000}, {}),
        ({"dead": 20_000}, {}),
        ({"oldest_transaction": 301.0}, {"oldest_transaction": Severity.NOTICE}),
        ({"oldest_unsettled": 3601.0}, {"oldest_unsettled": Severity.NOTICE}),
        ({"skew": -1.5}, {"clock_skew": Severity.NOTICE}),
        ({"encoding": "LATIN1"}, {"encoding": Severity.WARNING}),
    ],
)
def test_each_fact_has_its_severity(facts: dict, expected: dict) -> None:
    told = queue_findings({**FACTS, **facts}, HERE)
    assert {one.name: one.severity for one in told if one.severity is not Severity.OK} == expected


def test_a_password_without_a_verified_server_is_told() -> None:
    here = HERE._replace(way=WayThere(is_verified=False, is_local=False, has_password=True))
    told = {one.name: one.severity for one in queue_findings(FACTS, here)}
    assert told["password_in_clear"] is Severity.WARNING
    assert told["tls"] is Severity.NOTICE
