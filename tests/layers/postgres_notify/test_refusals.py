"""What PostgreSQL, or a pooler before it, refuses, and options that cannot be: said plainly, without secrets."""

import anyio
import pytest

from acked import (
    CapabilityError,
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    LayerError,
)
from acked.layers.postgres_notify import PostgresNotifyLayer
from tests.layers.postgres_kit import (
    TransactionPooler,
    assert_one_line_without_secrets,
    connected,
    fresh,
    record,
)

pytestmark = pytest.mark.anyio


async def test_nobody_there_is_a_lost_connection_naming_the_address() -> None:
    layer = PostgresNotifyLayer("postgresql://me:secret@127.0.0.1:1/shop")
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1/shop") as caught:
        await layer.__aenter__()
    assert_one_line_without_secrets(caught.value)


async def test_an_unknown_database_is_refused_by_name(postgres_broker) -> None:
    url = f"postgresql://acked:secret@127.0.0.1:{postgres_broker.port}/no_such_database"
    with pytest.raises(LayerError, match=f"{postgres_broker.port}/no_such_database") as caught:
        await PostgresNotifyLayer(url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


async def test_an_unknown_user_is_refused_with_what_to_check(postgres_broker) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{postgres_broker.port}/postgres"
    with pytest.raises(LayerError, match="check user, password") as caught:
        await PostgresNotifyLayer(url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


async def test_a_wrong_password_is_refused_with_what_to_check(private_broker) -> None:
    broker = private_broker("postgres")
    async with connected(broker.url) as admin:
        await admin.execute("create role pigeon login password 'right'")
        rules = await admin.fetchval("show hba_file")
        await admin.execute(
            f"copy (select 'host all pigeon all scram-sha-256' union all "
            f"select 'host all all all trust') to '{rules}'"
        )
        await admin.fetchval("select pg_reload_conf()")
        address = f"127.0.0.1:{broker.port}/postgres"
        while True:
            try:
                async with Channel(PostgresNotifyLayer(f"postgresql://pigeon:secret@{address}")):
                    await anyio.sleep(0.01)  # the rules are not reloaded yet
            except LayerError as error:
                refused = error
                break
        assert not isinstance(refused, ConnectionLost)
        assert f"{address} does not let us in" in str(refused)
        assert "check user, password" in str(refused)
        assert_one_line_without_secrets(refused)
        async with Channel(PostgresNotifyLayer(f"postgresql://pigeon:right@{address}")) as channel:
            await channel.publish(fresh(), 1)


async def test_a_pooler_that_swallows_listen_is_named_before_anybody_waits(
    postgres_broker,
) -> None:
    async with TransactionPooler(postgres_broker.port).running() as url:
        async with Channel(PostgresNotifyLayer(url)) as channel:
            await channel.publish(fresh(), 1)
            with pytest.raises(LayerError, match="pool_mode=session") as caught:
                await channel.subscribe(fresh()).__aenter__()
            assert not isinstance(caught.value, ConnectionLost)
            assert_one_line_without_secrets(caught.value)


async def test_a_session_that_was_swapped_or_does_not_listen_is_named(postgres_broker) -> None:
    topic = fresh()
    layer = PostgresNotifyLayer(postgres_broker.url, heartbeat=0.1)
    async with Channel(layer) as channel, channel.subscribe(topic) as subscription:
        await layer._listening._live.execute("unlisten *")  # type: ignore[union-attr]
        with pytest.raises(LayerError, match="pool_mode=session"):
            await anext(subscription)


async def test_a_malformed_dsn_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="write %40") as caught:
        PostgresNotifyLayer("postgresql://me:sec@ret@host:5432/shop")
    assert "sec" not in f"{caught.value} {caught.value.__cause__}"
    with pytest.raises(LayerError, match="check port and options") as caught:
        await PostgresNotifyLayer("postgresql://me:secret@host:port/shop").__aenter__()
    assert "sec" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused_with_what_to_do() -> None:
    with pytest.raises(CapabilityError, match=r"asyncio\.run"):
        await PostgresNotifyLayer("postgresql://localhost/shop").__aenter__()


async def test_a_closed_layer_says_so() -> None:
    layer = PostgresNotifyLayer("postgresql://localhost/shop")
    with pytest.raises(ChannelClosed, match="not open"):
        await layer.publish([record("t")])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres-notify://host/db?color=red", "color"),
        ("postgres-notify://u:secret@host/db?heartbeat=soon", "'heartbeat' must be a number"),
        ("postgres-notify://host/db?heartbeat=0", "heartbeat"),
        ("postgres-notify://host/db?pool_size=0", "pool_size"),
        ("postgres-notify://host/db?on_loss=panic", "on_loss"),
        ("postgres-notify://host/db?timeout=nan", "timeout"),
    ],
)
def test_a_wrong_option_is_named(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        PostgresNotifyLayer.from_url(url)
    assert "secret" not in str(caught.value)


def test_a_dsn_of_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        PostgresNotifyLayer("mysql://host/db")


async def test_a_url_carries_every_option(postgres_broker) -> None:
    url = postgres_broker.url.replace("postgresql://", "postgres-notify://")
    layer = PostgresNotifyLayer.from_url(
        f"{url}?heartbeat=5&pool_size=1&timeout=3&reconnect_timeout=9&on_loss=raise"
        "&application_name=from-a-url&sslmode=disable"
    )
    async with Channel(layer), connected(postgres_broker.url) as watcher:
        named = "select count(*) from pg_stat_activity where application_name = 'from-a-url'"
        assert await watcher.fetchval(named) == 1


def test_the_repr_has_no_credentials() -> None:
    layer = PostgresNotifyLayer("postgresql://me:secret@host:5432/shop?password=secret")
    assert repr(layer) == "<PostgresNotifyLayer postgresql://host:5432/shop, subscriptions: none>"


async def test_options_that_asyncpg_refuses_are_what_is_looked_for() -> None:
    layer = PostgresNotifyLayer("postgresql://me:secret@127.0.0.1:1/db?target_session_attrs=best")
    with pytest.raises(LayerError, match="cannot be used; check its options") as caught:
        await layer.__aenter__()
    assert not caught.value.may_pass
    assert_one_line_without_secrets(caught.value)


async def test_a_socket_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ConnectionLost, match="there is no such socket"):
        await PostgresNotifyLayer(f"postgresql:///db?host={tmp_path}").__aenter__()
