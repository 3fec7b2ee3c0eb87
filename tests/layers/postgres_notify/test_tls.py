"""TLS to PostgreSQL, asked for in the URL: what is accepted, and how a refusal is worded."""

import subprocess
from pathlib import Path

import pytest

from acked import Channel, ConnectionLost, LayerError
from acked.layers.postgres_notify import PostgresNotifyLayer
from compose.lifecycle import Broker
from tests.layers.postgres_kit import assert_one_line_without_secrets, connected, fresh

pytestmark = pytest.mark.anyio


def make_certificate(folder: Path, name: str) -> None:
    """Write `name.pem` and `name.key`: self-signed, for 127.0.0.1."""
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


async def with_tls(broker: Broker, folder: Path) -> Path:
    """Switch TLS on; return the certificate that clients are to trust."""
    make_certificate(folder, "server")
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


def layer(broker: Broker, options: str) -> PostgresNotifyLayer:
    url = broker.url.replace("postgresql://acked@", "postgres-notify://acked:secret@")
    return PostgresNotifyLayer.from_url(f"{url}?{options}")


async def test_a_trusted_certificate_carries_news_and_check_says_so(
    private_broker, tmp_path: Path
) -> None:
    broker, topic = private_broker("postgres"), fresh()
    trusted = await with_tls(broker, tmp_path)
    make_certificate(tmp_path, "another")
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


async def test_a_server_without_tls_that_is_asked_for_it_is_named(postgres_broker) -> None:
    with pytest.raises(LayerError, match="has no TLS, which sslmode asks for") as caught:
        await layer(postgres_broker, "sslmode=require").__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert_one_line_without_secrets(caught.value)


async def test_a_certificate_that_is_not_there_is_what_is_looked_for(postgres_broker) -> None:
    with pytest.raises(LayerError, match="a certificate that the dsn names") as caught:
        await layer(postgres_broker, "sslmode=verify-full&sslrootcert=/nowhere.pem").__aenter__()
    assert_one_line_without_secrets(caught.value)


async def test_a_server_that_is_too_old_is_refused_by_its_number(
    postgres_broker, monkeypatch
) -> None:
    monkeypatch.setattr("acked.layers.postgres_notify._server.OLDEST", 99)
    with pytest.raises(LayerError, match=r"is PostgreSQL \d+; acked needs 99") as caught:
        await PostgresNotifyLayer(postgres_broker.url).__aenter__()
    assert_one_line_without_secrets(caught.value)
