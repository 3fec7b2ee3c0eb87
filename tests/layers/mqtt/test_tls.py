"""MQTT over TLS by a real listener, with a CA of its own; and credentials."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
import pytest

from acked import Channel
from acked.errors import ConfigurationError, ConnectionLost, LayerError
from acked.layers.mqtt import MQTTLayer
from compose.native.process import free_ports
from tests.fix_proxy import Proxies
from tests.layers.mqtt.kit import (
    acks,
    feed_at,
    joined,
    mosquitto,
    record,
    take,
    what_is_owed,
)
from tests.layers.tls_kit import Authority

pytestmark = pytest.mark.anyio


def run(*command: str) -> None:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([program, *command[1:]], check=True, capture_output=True)


class Listeners(NamedTuple):
    """A Mosquitto that speaks TLS, also with those only who have a certificate."""

    authority: Authority
    plain: str
    tls: str
    mutual: str


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "ca")
    certificate, key = authority.sign("server")
    passwords = folder / "passwords"
    run("mosquitto_passwd", "-b", "-c", str(passwords), "shop", "s3cret/@:")
    ports = free_ports(2)
    lines = [f"password_file {passwords}"]
    for port in ports:
        lines += [f"listener {port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}"]
    lines += [f"cafile {authority.certificate}", "require_certificate true"]
    with mosquitto(*lines) as broker:
        urls = [f"mqtts://127.0.0.1:{port}" for port in ports]
        yield Listeners(authority, broker.url, *urls)


async def test_messages_of_all_sizes_pass_through_tls(listeners: Listeners, topic: str) -> None:
    ca = listeners.authority.certificate
    async with feed_at(listeners.tls, topic, ca_certs=ca) as (layer, feed):
        sizes = [0, 1, 1_000, 16_384, 16_385, 70_000, 1_000_000]
        await layer.publish([record(topic, "x" * size) for size in sizes])
        got = await take(feed, len(sizes))
        assert [len(one.record.body) for one in got] == sizes
        await feed.settle(acks(got))
    assert await what_is_owed(listeners.plain, topic) == []


async def test_a_url_carries_credentials_and_certificates(listeners: Listeners, topic: str) -> None:
    certificate, key = listeners.authority.sign("client", usage="clientAuth")
    url = listeners.mutual.replace("//", "//shop:s3cret%2F%40%3A@")
    url += f"?ca_certs={listeners.authority.certificate}&certfile={certificate}&keyfile={key}"
    async with Channel.from_url(url) as channel:
        assert "s3cret" not in repr(channel.layer)
        async with channel.subscribe(topic, group="group") as sub:
            await channel.publish(topic, "body")
            delivery = await anext(sub)
            assert delivery.body == "body"
            await delivery.ack()


async def test_a_wrong_password_is_refused_for_good_and_not_shown(listeners: Listeners) -> None:
    url = listeners.plain.replace("//", "//shop:wr0ng@")
    with pytest.raises(LayerError, match="refused the connection: Not authorized") as caught:
        await MQTTLayer(url).__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    assert "wr0ng" not in str(caught.value)
    assert "wr0ng" not in repr(caught.value.__context__)


async def test_the_right_password_is_admitted(listeners: Listeners) -> None:
    url = listeners.plain.replace("//", "//shop:s3cret%2F%40%3A@")
    async with MQTTLayer(url) as layer:
        assert layer.client.is_connected()


async def test_a_password_that_changes_is_asked_for_at_each_connection(
    listeners: Listeners, topic: str
) -> None:
    told = "not yet"
    layer = MQTTLayer(listeners.plain.replace("//", "//shop@"), password=lambda: told)
    with pytest.raises(LayerError, match="refused the connection: Not authorized"):
        await layer.__aenter__()
    told = "s3cret/@:"
    async with layer, joined(layer, topic) as feed:
        await layer.publish([record(topic, "body")])
        await feed.settle(acks(await take(feed, 1)))
        found = {one.name: one for one in await layer.check()}
    assert found["password_in_clear"].value is False  # it is this machine
    assert "s3cret" not in repr(layer) + repr(found)


async def test_a_password_that_cannot_be_had_for_a_moment_ends_no_subscription(
    listeners: Listeners, topic: str, proxy: Proxies
) -> None:
    failures: list[Exception] = []

    def password() -> str:
        if failures:
            raise failures.pop()
        return "s3cret/@:"

    way = proxy(int(listeners.plain.rpartition(":")[2]))
    layer = MQTTLayer(f"mqtt://shop@127.0.0.1:{way.port}", password=password)
    async with Channel(MQTTLayer(listeners.plain)) as other, Channel(layer) as channel:
        async with channel.subscribe(topic, group="group") as sub:
            failures[:] = [OSError("the vault is away"), OSError("the vault is away")]
            way.cut()
            with anyio.fail_after(20):
                await other.publish(topic, "body")
                await (await anext(sub)).ack()
    assert not failures


@pytest.mark.parametrize(("port_of", "scheme"), [("plain", "mqtts"), ("tls", "mqtt")])
async def test_tls_where_there_is_none_or_none_where_there_is_names_the_place(
    listeners: Listeners, port_of: str, scheme: str
) -> None:
    port = getattr(listeners, port_of).rpartition(":")[2]
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{port}"):
        await MQTTLayer(f"{scheme}://127.0.0.1:{port}", timeout=2.0).__aenter__()


async def test_a_connect_that_was_cancelled_is_not_sent_later(tmp_path: Path) -> None:
    """It would take the session from whoever connected meanwhile."""
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("slow"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def heard() -> bytes:
            accepted, _ = server.accept()
            accepted.settimeout(5)
            try:
                with context.wrap_socket(accepted, server_side=True) as connection:
                    return connection.recv(1000)
            except OSError:  # it hung up
                return b""

        url = f"mqtts://127.0.0.1:{server.getsockname()[1]}"
        layer = MQTTLayer(url, ca_certs=authority.certificate, timeout=5.0)
        with anyio.move_on_after(0.2) as scope:
            await layer.__aenter__()
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(heard) == b""


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(
    listeners: Listeners, tmp_path: Path
) -> None:
    certificate, key = listeners.authority.sign("encrypted", usage="clientAuth")
    locked = str(tmp_path / "locked.key")
    run("openssl", "rsa", "-aes256", "-passout", "pass:long", "-in", key, "-out", locked)
    with pytest.raises(ConfigurationError, match="encrypted"):
        MQTTLayer(listeners.tls, certfile=certificate, keyfile=locked)


def test_tls_checks_the_broker() -> None:
    context = MQTTLayer("mqtts://broker")._connection.keywords["tls"]
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert MQTTLayer("mqtt://broker")._connection.keywords["tls"] is None
