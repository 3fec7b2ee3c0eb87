"""TLS and SASL against a broker that insists on both."""

import base64
import json
import logging
import ssl
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest

from acked import Channel, ConnectionLost, LayerError, PublishFailed
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from compose.kafka.recipe import KafkaRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.kafka_kit import SOON, ack, bodies, feed_of, record, take
from tests.layers.tls_kit import openssl

pytestmark = pytest.mark.anyio

USER, PASSWORD, STORE = "ursula", "p@ss:w/rd", "storepass"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
SCRAM_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required"
OAUTH_MODULE = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    f'unsecuredLoginStringClaim_sub="{USER}"'
)
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


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A broker that takes clients over TLS with a password only, and its certificate."""
    folder = tmp_path_factory.mktemp("kafka-tls")
    chain = certificate(folder)
    recipe = KafkaRecipe(
        heap=384,
        more=(
            "listener.security.protocol.map=PLAINTEXT:SASL_SSL,PROXIED:SASL_SSL,CONTROLLER:PLAINTEXT",
            f"sasl.enabled.mechanisms=PLAIN,OAUTHBEARER,{','.join(SCRAM)}",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            f"listener.name.plaintext.plain.sasl.jaas.config={login()}",
            f"listener.name.proxied.plain.sasl.jaas.config={login()}",
            f"ssl.keystore.location={folder / 'store.p12'}",
            f"ssl.keystore.password={STORE}",
            f"ssl.key.password={STORE}",
            "ssl.keystore.type=PKCS12",
            f"ssl.truststore.location={chain}",
            "ssl.truststore.type=PEM",
            # Takes a token that nobody has signed, and looks at its times.
            *(
                f"listener.name.{listener}.oauthbearer.sasl.jaas.config={OAUTH_MODULE};"
                for listener in ("plaintext", "proxied")
            ),
            # Through a proxy, only with a certificate of one's own.
            "listener.name.proxied.ssl.client.auth=required",
            *(
                f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config={SCRAM_MODULE};"
                for listener in ("plaintext", "proxied")
                for mechanism in SCRAM
            ),
        ),
        scram=tuple(f"{mechanism}=[name={USER},password={PASSWORD}]" for mechanism in SCRAM),
    )
    broker = NativeBroker(recipe)
    or_skip("kafka", broker.start)
    yield broker, chain
    broker.close()


def login() -> str:
    words = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
    return f"{PLAIN} required {words};"


def url_of(broker, chain: Path, password: str = PASSWORD, **options: object) -> str:
    at = broker.url.removeprefix("kafka://")
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return (
        f"kafka://{USER}:{quote(password, safe='')}@{at}?ssl_ca_certs={chain}"
        f"&create_topics=1&timeout=8&session_timeout=6{more}"
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_a_message_travels_over_tls_with_a_password(secured, mechanism: str) -> None:
    """Producer, consumer, commit, admin: all of them log in."""
    broker, chain = secured
    topic = fresh("topic")
    async with KafkaLayer.from_url(url_of(broker, chain, sasl_mechanism=mechanism)) as layer:
        await layer.publish([record(topic, 7)])
        async with feed_of(layer, topic, "g") as feed:
            got = await take(feed, 1)
            assert bodies(got) == [7]
            await ack(feed, got)
        assert len(await layer.check()) > 5
        assert PASSWORD not in repr(layer)


async def test_a_message_travels_with_a_certificate_of_ours(secured, proxy) -> None:
    broker, chain = secured
    topic, ours = fresh("topic"), {"ssl_certfile": chain, "ssl_keyfile": chain.with_name("key.pem")}
    between = proxy(broker)
    async with KafkaLayer.from_url(url_of(between, chain, **ours)) as layer:
        await layer.publish([record(topic, 7)])
        async with feed_of(layer, topic, "g") as feed:
            await ack(feed, await take(feed, 1))


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_a_wrong_password_is_refused_in_words_without_it(
    secured, caplog, mechanism: str
) -> None:
    broker, chain = secured
    layer = KafkaLayer.from_url(url_of(broker, chain, "wrong-secret", sasl_mechanism=mechanism))
    with anyio.fail_after(SOON), pytest.raises(LayerError) as caught:
        await layer.__aenter__()
    words = f"{caught.value} {caught.value!r} {layer!r} {caplog.text}"
    assert "wrong-secret" not in words
    assert not isinstance(caught.value, ConnectionLost)
    assert "user or password" in str(caught.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_neither_password_nor_payload_is_in_the_log_at_debug(
    secured, caplog, mechanism: str
) -> None:
    """Issue 12, 6: aiokafka writes every request and answer."""
    broker, chain = secured
    topic = fresh("topic")
    caplog.set_level(logging.DEBUG)
    async with KafkaLayer.from_url(url_of(broker, chain, sasl_mechanism=mechanism)) as layer:
        await layer.publish([record(topic, "a payload nobody may see", headers={"h": "a header"})])
        async with feed_of(layer, topic, "g") as feed:
            await ack(feed, await take(feed, 1))
        await layer.check()
    assert "Request to" in caplog.text
    assert "contents hidden" in caplog.text
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    for secret in (PASSWORD, encoded, "a payload", "a header", ",p="):
        assert secret not in caplog.text


async def test_a_password_that_changes_is_asked_for_at_each_connection(secured) -> None:
    broker, chain = secured
    told = "not yet"
    layer = KafkaLayer(
        broker.url.removeprefix("kafka://"),
        user=USER,
        password=lambda: told,
        tls=ssl.create_default_context(cafile=str(chain)),
        timeout=8.0,
        create_topics=1,
    )
    with anyio.fail_after(SOON), pytest.raises(LayerError, match="user or password"):
        await layer.__aenter__()
    told = PASSWORD
    topic = fresh("topic")
    async with layer:
        await layer.publish([record(topic, 1)])
        async with feed_of(layer, topic, "g") as feed:
            await ack(feed, await take(feed, 1))
        assert len(await layer.check()) > 5


def token(seconds: float) -> str:
    """A token of ours that is good for so long, without a signature."""
    parts = ({"alg": "none"}, {"sub": USER, "iat": time.time() - 60, "exp": time.time() + seconds})
    encoded = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode() for one in parts)
    return ".".join(one.rstrip("=") for one in encoded) + "."


async def test_a_token_that_is_asked_for_lets_every_client_in(secured, caplog) -> None:
    """OAUTHBEARER: each connection has the token that is good just then."""
    broker, chain = secured
    good, given = False, list[str]()

    def fresh_token() -> str:
        given.append(token(300 if good else -30))
        return given[-1]

    caplog.set_level(logging.DEBUG)
    layer = KafkaLayer(
        broker.url.removeprefix("kafka://"),
        password=fresh_token,
        sasl_mechanism="OAUTHBEARER",
        tls=ssl.create_default_context(cafile=str(chain)),
        timeout=8.0,
        create_topics=1,
    )
    with anyio.fail_after(SOON), pytest.raises(LayerError, match="user or password") as caught:
        await layer.__aenter__()
    assert not isinstance(caught.value, ConnectionLost)
    good, topic = True, fresh("topic")
    async with layer:
        await layer.publish([record(topic, 1)])
        async with feed_of(layer, topic, "g") as feed:
            await ack(feed, await take(feed, 1))
        found = {one.name: one for one in await layer.check()}
    assert (found["tls"].value, found["password_in_clear"].value) == ("verified", False)
    assert len(given) > 4
    for one in given:
        assert one.split(".")[1] not in caplog.text + repr(layer) + str(caught.value)


async def test_a_password_that_cannot_be_had_is_no_bug_of_kafka(secured) -> None:
    """And what its function says, which may be the secret, is only its cause."""
    broker, chain = secured

    def failing() -> str:
        raise OSError("no token-file")

    at = broker.url.removeprefix("kafka://")
    for mechanism in ("OAUTHBEARER", "PLAIN"):
        layer = KafkaLayer(
            at,
            user=USER,
            password=failing,
            sasl_mechanism=mechanism,
            tls=ssl.create_default_context(cafile=str(chain)),
            timeout=8.0,
        )
        with anyio.fail_after(SOON), pytest.raises(LayerError, match="raised OSError") as caught:
            await layer.__aenter__()
        assert caught.value.may_pass
        assert "token-file" not in str(caught.value)


async def test_a_password_that_cannot_be_had_for_a_moment_ends_nothing(secured, proxy) -> None:
    """A vault that is away while connections are made anew."""
    broker, chain = secured
    failures: list[Exception] = []
    asked_in_vain = 0

    def password() -> str:
        nonlocal asked_in_vain
        if failures:
            asked_in_vain += 1
            raise failures[0]
        return PASSWORD

    between = proxy(broker)
    tls = ssl.create_default_context(cafile=str(chain))
    tls.load_cert_chain(chain, chain.with_name("key.pem"))
    layer = KafkaLayer(
        between.url.removeprefix("kafka://"),
        user=USER,
        password=password,
        tls=tls,
        timeout=8.0,
        session_timeout=6.0,
        create_topics=1,
    )
    topic = fresh("topic")
    async with Channel(layer) as channel, channel.subscribe(topic, group="g") as subscription:
        await channel.publish(topic, 1)
        await (await anext(subscription)).ack()
        failures.append(OSError("the vault is away"))
        between.cut()
        with anyio.fail_after(SOON):
            while asked_in_vain < 5:
                await anyio.sleep(0.05)
        failures.clear()
        with anyio.fail_after(3 * SOON):
            await published(channel, topic, 2)
            await (await anext(subscription)).ack()


async def published(channel: Channel, topic: str, body: int) -> None:
    """Publish, as often as that takes."""
    while True:
        with suppress(PublishFailed, LayerError):
            return await channel.publish(topic, body)
