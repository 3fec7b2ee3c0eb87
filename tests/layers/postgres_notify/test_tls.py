"""TLS to PostgreSQL, asked for in the URL: what is accepted, and how a refusal is worded."""

import asyncio
import struct
from pathlib import Path

import pytest

from acked import Channel, ConfigurationError, ConnectionLost, LayerError, Severity
from acked.layers.postgres_notify import PostgresNotifyLayer
from compose.lifecycle import Broker
from tests.layers.postgres_kit import assert_one_line_without_secrets, connected, fresh
from tests.layers.tls_kit import self_signed

pytestmark = pytest.mark.anyio


async def with_tls(broker: Broker, folder: Path) -> Path:
    """Switch TLS on; return the certificate that clients are to trust."""
    self_signed(folder, "server")
    async with connected(broker.url) as admin:
        data = await admin.fetchval("show data_directory")
        for name in ("server.pem", "server.key"):
            text = (folder / name).read_text()
            lines = ", ".join(f"('{line}')" for line in text.splitlines())
            path = f"{data}/{name}"
            # The server writes it as its own, since only its account may own the key.
            await admin.execute(f"copy (values {lines}) to program 'umask 077; cat > {path}'")
        await admin.execute(f"alter system set ssl_cert_file = '{data}/server.pem'")
        await admin.execute(f"alter system set ssl_key_file = '{data}/server.key'")
        await admin.execute("alter system set ssl = on")
        await admin.execute("select pg_reload_conf()")
        while not await tls_is_on(broker):
            pass
    return folder / "server.pem"


async def tls_is_on(broker: Broker) -> bool:
    async with connected(broker.url) as asking:
        return bool(await asking.fetchval("select current_setting('ssl') = 'on'"))


@pytest.fixture(scope="module")
def tls_broker(module_broker, tmp_path_factory) -> tuple[Broker, Path]:
    """A server with a certificate of its own, and where it and that of a stranger are."""
    broker, folder = module_broker("postgres"), tmp_path_factory.mktemp("tls")
    asyncio.run(with_tls(broker, folder))
    self_signed(folder, "another")
    return broker, folder


def layer(broker: Broker, options: str) -> PostgresNotifyLayer:
    url = broker.url.replace("postgresql://acked@", "postgres-notify://acked:secret@")
    return PostgresNotifyLayer.from_url(f"{url}?{options}")


async def test_a_trusted_certificate_carries_news_and_check_says_so(
    private_broker, tmp_path: Path
) -> None:
    broker, topic = private_broker("postgres"), fresh()
    trusted = await with_tls(broker, tmp_path)
    self_signed(tmp_path, "another")
    verified = layer(broker, f"sslmode=verify-full&sslrootcert={trusted}")
    async with Channel(verified) as channel, channel.subscribe(topic) as subscription:
        await channel.publish(topic, 1)
        assert (await anext(subscription)).body == 1
        assert {one.name: one.value for one in await channel.check()}["tls"] is True
    stranger = layer(broker, f"sslmode=verify-full&sslrootcert={tmp_path / 'another.pem'}")
    with pytest.raises(LayerError, match=r"certificate of .* is not trusted") as caught:
        await stranger.__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)
    async with connected(broker.url) as admin:
        rules = await admin.fetchval("show hba_file")
        await admin.execute(f"copy (select 'hostssl all all all trust') to '{rules}'")
        await admin.execute("select pg_reload_conf()")
    with pytest.raises(LayerError, match="check user, password, sslmode") as caught:
        while True:  # until the rules are reloaded
            async with Channel(layer(broker, "sslmode=disable")):
                pass
    assert_one_line_without_secrets(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        "sslrootcert={folder}/another.pem",  # a mode is not named
        "sslmode=require",  # an authority is not named
        "sslmode=verify-ca",
        "ssl_min_protocol_version=TLSv1.2",
        "sslrootcert=system",
    ],
)
async def test_whoever_names_anything_of_tls_is_safe_from_a_false_server(
    tls_broker, options: str
) -> None:
    broker, folder = tls_broker
    with pytest.raises(LayerError, match=r"certificate of .* is not trusted") as caught:
        await layer(broker, options.format(folder=folder)).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


@pytest.mark.parametrize(
    "options",
    ["sslrootcert={folder}/server.pem", "sslmode=require&sslrootcert={folder}/server.pem"],
)
async def test_an_authority_that_is_named_is_enough(tls_broker, options: str) -> None:
    broker, folder = tls_broker
    async with Channel(layer(broker, options.format(folder=folder))) as channel:
        assert {one.name: one.value for one in await channel.check()}["tls"] is True


async def test_the_mode_decides_whether_the_hosts_name_counts(tls_broker) -> None:
    broker, folder = tls_broker
    named = layer(broker, f"sslrootcert={folder}/server.pem")
    named._server._dsn = named._server._dsn.replace("127.0.0.1", "localhost")
    with pytest.raises(LayerError, match="check the host's name"):
        await named.__aenter__()
    anybody = layer(broker, f"sslmode=verify-ca&sslrootcert={folder}/server.pem")
    anybody._server._dsn = anybody._server._dsn.replace("127.0.0.1", "localhost")
    async with Channel(anybody):
        pass


async def test_tls_that_nobody_asked_for_is_not_called_verified(tls_broker) -> None:
    broker, _ = tls_broker
    async with Channel(layer(broker, "application_name=x")) as channel:
        found = {one.name: one for one in await channel.check()}
    assert found["tls"].value == "unverified"
    assert found["tls"].severity is Severity.NOTICE
    assert found["password_in_clear"].value is False  # it is this machine


async def test_what_is_named_in_the_environment_counts(tls_broker, monkeypatch) -> None:
    broker, folder = tls_broker
    monkeypatch.setenv("PGSSLROOTCERT", f"{folder}/another.pem")
    with pytest.raises(LayerError, match="is not trusted"):
        await PostgresNotifyLayer(broker.url).__aenter__()
    monkeypatch.setenv("PGSSLROOTCERT", f"{folder}/server.pem")
    async with Channel(PostgresNotifyLayer(broker.url)):
        pass


async def test_a_false_server_without_tls_is_given_no_password(tmp_path: Path) -> None:
    """It says that it has no TLS and asks for the password in clear."""
    self_signed(tmp_path, "server")
    given: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given.append(await reader.read(8))
        writer.write(b"N")
        while piece := await reader.read(1000):
            given.append(piece)
            writer.write(b"R" + struct.pack("!ii", 8, 3))  # a password in clear, please
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for options in (f"sslrootcert={tmp_path}/server.pem", "sslmode=require"):
            url = f"postgres-notify://acked:secret@127.0.0.1:{port}/postgres?{options}"
            with pytest.raises(LayerError, match="has no TLS"):
                await PostgresNotifyLayer.from_url(url).__aenter__()
    assert len(given) == 2
    assert not any(b"secret" in piece for piece in given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sslmode=prefer", "say sslmode=verify-full"),
        ("sslmode=allow", "say sslmode=verify-full"),
        ("sslmode=verify_full", "is none of require, verify-ca, verify-full"),
        ("sslmode=disable&sslrootcert=/my.pem", "contradicts sslrootcert"),
        ("ssl_min_protocol_version=new", r"say TLSv1\.2"),
    ],
)
def test_what_is_less_than_it_looks_like_is_refused(options: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        PostgresNotifyLayer.from_url(f"postgres-notify://host/db?{options}")


async def test_a_server_without_tls_that_is_asked_for_it_is_named(postgres_broker) -> None:
    with pytest.raises(LayerError, match="has no TLS, which sslmode asks for") as caught:
        await layer(postgres_broker, "sslmode=require").__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


@pytest.mark.parametrize("option", ["sslrootcert", "sslcert", "sslcrl"])
async def test_a_certificate_that_is_not_there_is_what_is_looked_for(
    postgres_broker, option: str
) -> None:
    with pytest.raises(
        LayerError, match=r"a certificate that the dsn names .*No such file"
    ) as caught:
        await layer(postgres_broker, f"{option}=/nowhere.pem").__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


async def test_a_file_that_is_no_certificate_is_named_as_such(
    postgres_broker, tmp_path: Path
) -> None:
    (tmp_path / "a.pem").write_text("dear diary")
    with pytest.raises(LayerError, match="cannot be used") as caught:
        await layer(postgres_broker, f"sslrootcert={tmp_path}/a.pem").__aenter__()
    assert_one_line_without_secrets(caught.value)


async def test_a_server_that_is_too_old_is_refused_by_its_number(
    postgres_broker, monkeypatch
) -> None:
    monkeypatch.setattr("acked.layers._postgres.server.OLDEST", 99)
    with pytest.raises(LayerError, match=r"is PostgreSQL \d+; acked needs 99") as caught:
        await PostgresNotifyLayer(postgres_broker.url).__aenter__()
    assert_one_line_without_secrets(caught.value)
