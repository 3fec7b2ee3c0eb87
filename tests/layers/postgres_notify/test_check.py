"""`channel.check()` on PostgreSQL: facts of the real server, and what is said of them."""

import anyio
import pytest

from acked import Channel, LayerError, Severity
from acked.layers._postgres.findings import WayThere
from acked.layers.postgres_notify import PostgresNotifyLayer
from acked.layers.postgres_notify._findings import Situation, findings
from acked.types import Finding
from tests.layers.postgres_kit import (
    TransactionPooler,
    assert_one_line_without_secrets,
    connected,
    fresh,
)

pytestmark = pytest.mark.anyio

NAMES = (
    "server_version",
    "standby",
    "transaction_pooler",
    "notification_queue_usage",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "encoding",
    "max_identifier_length",
    "connection_limit",
    "tls",
    "password_in_clear",
    "tcp_keepalives_idle",
)

FACTS = {
    "server_version": "15.3",
    "server_version_num": 150003,
    "encoding": "UTF8",
    "standby": False,
    "queue_usage": 0.0,
    "tls": True,
    "connected": 3,
    "role_limit": -1,
    "max_identifier_length": 63,
    "max_connections": 100,
    "superuser_reserved_connections": 3,
    "idle_in_transaction_session_timeout": 0,
    "tcp_keepalives_idle": 7200,
}


async def checked(url: str, **options) -> dict[str, Finding]:
    async with Channel(PostgresNotifyLayer(url, **options)) as channel:
        return {finding.name: finding for finding in await channel.check()}


def warned(found: dict[str, Finding]) -> set[str]:
    return {name for name, one in found.items() if one.severity is Severity.WARNING}


async def test_a_sound_server_is_told_fact_by_fact_without_a_warning(postgres_broker) -> None:
    found = await checked(postgres_broker.url)
    assert tuple(found) == NAMES
    assert not warned(found)
    async with connected(postgres_broker.url) as admin:
        assert found["server_version"].value == await admin.fetchval("show server_version")
    assert found["encoding"].value == "UTF8"
    assert found["max_identifier_length"].value == 63
    assert found["connection_limit"].value == 97
    assert found["standby"].value is False
    assert found["tls"].value is False


async def test_a_role_whose_idle_sessions_are_ended_is_warned_of_and_a_faster_heartbeat_helps(
    private_broker,
) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role sleepy login")
        await admin.execute("alter role sleepy set idle_session_timeout = '600ms'")
    url = broker.url.replace("acked@", "sleepy@")
    found = await checked(url)
    assert warned(found) == {"idle_session_timeout"}
    assert found["idle_session_timeout"].value == 0.6
    assert "heartbeat" in found["idle_session_timeout"].message
    assert not warned(await checked(url, heartbeat=0.2))
    # It is as the words say: the one loses its session, the other keeps it.
    topic = fresh()
    async with (
        Channel(PostgresNotifyLayer(url)) as slow,
        slow.subscribe(topic) as missing,
        Channel(PostgresNotifyLayer(url, heartbeat=0.2)) as fast,
        fast.subscribe(topic) as complete,
    ):
        while not missing.statistics().unknown_gaps:
            await anyio.sleep(0.05)
        assert complete.statistics().unknown_gaps == 0


async def test_a_role_with_too_few_connections_is_warned_of(private_broker) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role few login connection limit 3")
    found = await checked(broker.url.replace("acked@", "few@"))
    assert (found["connection_limit"].value, warned(found)) == (3, {"connection_limit"})
    assert not warned(await checked(broker.url.replace("acked@", "few@"), pool_size=2))


async def test_a_transaction_pooler_is_warned_of(postgres_broker) -> None:
    async with TransactionPooler(postgres_broker.port).running() as url:
        found = await checked(url)
    assert found["transaction_pooler"].value is True
    assert warned(found) == {"transaction_pooler"}


async def test_a_standby_is_warned_of_and_named_when_it_refuses(private_broker) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        folder = await admin.fetchval("show data_directory")
        await admin.execute(f"copy (select '') to '{folder}/standby.signal'")
    await anyio.to_thread.run_sync(broker.restart)
    found = await checked(broker.url)
    assert warned(found) == {"standby"}
    assert found["notification_queue_usage"].value is None
    async with Channel(PostgresNotifyLayer(broker.url)) as channel:
        with pytest.raises(LayerError, match="is a standby") as caught:
            await channel.publish(fresh(), 1)
        assert_one_line_without_secrets(caught.value)
        with pytest.raises(LayerError, match="is a standby"):
            await channel.subscribe(fresh()).__aenter__()


async def test_a_database_that_is_not_utf8_is_warned_of(private_broker) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute(
            "create database old encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
        )
    found = await checked(broker.url.replace("/postgres", "/old"))
    assert (found["encoding"].value, warned(found)) == ("LATIN1", {"encoding"})


HERE = Situation(
    pooled=False,
    rest=5.0,
    pool_size=4,
    way=WayThere(is_verified=True, is_local=False, has_password=True),
)


def judged(facts: dict[str, object], here: Situation) -> dict[str, Severity]:
    told = findings({**FACTS, **facts}, here)
    return {one.name: one.severity for one in told if one.severity is not Severity.OK}


@pytest.mark.parametrize(
    ("facts", "name", "severity"),
    [
        ({"server_version_num": 110022}, "server_version", Severity.WARNING),
        ({"queue_usage": 0.05}, "notification_queue_usage", Severity.NOTICE),
        ({"queue_usage": 0.5}, "notification_queue_usage", Severity.WARNING),
        ({"idle_session_timeout": 9_000}, "idle_session_timeout", Severity.WARNING),
        ({"max_identifier_length": 31}, "max_identifier_length", Severity.WARNING),
        ({"connected": 95}, "connection_limit", Severity.NOTICE),
    ],
)
def test_what_a_test_server_cannot_be_is_judged_all_the_same(
    facts: dict[str, object], name: str, severity: Severity
) -> None:
    assert judged({}, HERE) == {}
    assert judged(facts, HERE) == {name: severity}


NOTICE, WARNING = Severity.NOTICE, Severity.WARNING


@pytest.mark.parametrize("has_tls", [True, False])
@pytest.mark.parametrize(
    ("is_local", "has_password", "expected"),
    [
        (False, True, {"tls": NOTICE, "password_in_clear": WARNING}),
        (False, False, {"tls": NOTICE}),
        (True, True, {}),
        (True, False, {}),
    ],
)
def test_what_goes_to_a_server_that_nobody_verified_is_told(
    has_tls: bool, is_local: bool, has_password: bool, expected: dict[str, Severity]
) -> None:
    here = HERE._replace(
        way=WayThere(is_verified=False, is_local=is_local, has_password=has_password)
    )
    found = judged({"tls": has_tls}, here)
    if has_tls:
        expected = {"tls": NOTICE, **expected}  # it looks like more than it is
    assert found == expected
