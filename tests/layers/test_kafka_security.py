"""TLS and SASL against a broker that insists on both."""

import ssl
import subprocess
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest

from acked import ConnectionLost, LayerError
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from compose.native.kafka import KafkaRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.kafka_kit import SOON, ack, bodies, feed_of, record, take

pytestmark = pytest.mark.anyio

USER, PASSWORD, STORE = "ursula", "p@ss:w/rd", "storepass"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


def certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 and the store in which the broker has it; return it."""
    key, chain = folder / "key.pem", folder / "certificate.pem"
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(chain)]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    openssl("req", "-x509", "-days", "2", *made, *named)
    store = ["-out", str(folder / "store.p12"), "-passout", f"pass:{STORE}"]
    openssl("pkcs12", "-export", "-inkey", str(key), "-in", str(chain), *store)
    return chain


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A broker that takes clients over TLS with a password only, and its certificate."""
    folder = tmp_path_factory.mktemp("kafka-tls")
    chain = certificate(folder)
    recipe = KafkaRecipe(
        heap=384,
        more=(
            "listener.security.protocol.map=PLAINTEXT:SASL_SSL,PROXIED:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms=PLAIN",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            f"listener.name.plaintext.plain.sasl.jaas.config={login()}",
            f"listener.name.proxied.plain.sasl.jaas.config={login()}",
            f"ssl.keystore.location={folder / 'store.p12'}",
            f"ssl.keystore.password={STORE}",
            f"ssl.key.password={STORE}",
            "ssl.keystore.type=PKCS12",
            f"ssl.truststore.location={chain}",
            "ssl.truststore.type=PEM",
        ),
    )
    broker = NativeBroker(recipe)
    or_skip("kafka", broker.start)
    yield broker, chain
    broker.close()


def login() -> str:
    words = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
    return f"{PLAIN} required {words};"


def url_of(broker, chain: Path, password: str = PASSWORD) -> str:
    at = broker.url.removeprefix("kafka://")
    return (
        f"kafka://{USER}:{quote(password, safe='')}@{at}?ssl_ca_certs={chain}"
        "&create_topics=1&timeout=8&session_timeout=6"
    )


async def test_a_message_travels_over_tls_with_a_password(secured) -> None:
    """Producer, consumer, commit, admin: all of them log in."""
    broker, chain = secured
    topic = fresh("topic")
    async with KafkaLayer.from_url(url_of(broker, chain)) as layer:
        await layer.publish([record(topic, 7)])
        async with feed_of(layer, topic, "g") as feed:
            got = await take(feed, 1)
            assert bodies(got) == [7]
            await ack(feed, got)
        assert len(await layer.check()) > 5
        assert PASSWORD not in repr(layer)


async def test_a_wrong_password_is_refused_in_words_without_it(secured, caplog) -> None:
    broker, chain = secured
    layer = KafkaLayer.from_url(url_of(broker, chain, "wrong-secret"))
    with anyio.fail_after(SOON), pytest.raises(LayerError) as caught:
        await layer.__aenter__()
    words = f"{caught.value} {caught.value!r} {layer!r} {caplog.text}"
    assert "wrong-secret" not in words
    assert not isinstance(caught.value, ConnectionLost)
    assert "user or password" in str(caught.value)


async def test_an_unknown_certificate_is_refused(secured) -> None:
    broker, _ = secured
    at = broker.url.removeprefix("kafka://")
    layer = KafkaLayer(
        at, user=USER, password=PASSWORD, tls=ssl.create_default_context(), timeout=8.0
    )
    with anyio.fail_after(SOON), pytest.raises(LayerError) as caught:
        await layer.__aenter__()
    assert not isinstance(caught.value, ConnectionLost)  # trying again is of no use
    assert "certificate" in str(caught.value)
    assert PASSWORD not in str(caught.value)
