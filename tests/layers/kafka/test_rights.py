"""A principal that may do little: what it may works, and what it may not is refused by name."""

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from acked import ConnectionLost, LayerError, PublishFailed, Start
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from acked.types import Outcome, Record, Settlement, Verb
from compose.kafka.recipe import KafkaRecipe
from compose.native.server import NativeBroker
from tests.fix_brokers import or_skip
from tests.layers.kafka_acls import (
    ALLOW,
    DENY,
    DESCRIBE,
    GROUP,
    READ,
    TOPIC,
    WRITE,
    Rule,
    add_rules,
)
from tests.layers.kafka_kit import SOON, ack, bodies, feed_of, record, take

pytestmark = pytest.mark.anyio

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.fixture(scope="module")
def guarded():
    """A broker that lets `root` do anything and `reader` what it was given."""
    words = f'{PLAIN} required username="root" password="r" user_root="r" user_reader="w";'
    more = (
        "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,PROXIED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms=PLAIN",
        "sasl.mechanism.inter.broker.protocol=PLAIN",
        f"listener.name.plaintext.plain.sasl.jaas.config={words}",
        f"listener.name.proxied.plain.sasl.jaas.config={words}",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:root;User:ANONYMOUS",
    )
    broker = NativeBroker(KafkaRecipe(heap=384, more=more))
    or_skip("kafka", broker.start)
    yield broker
    broker.close()


def layer_of(broker, user: str, password: str, **options) -> KafkaLayer:
    at = broker.url.removeprefix("kafka://")
    settings = {"timeout": 8.0, "session_timeout": 6.0} | options
    return KafkaLayer(at, user=user, password=password, **settings)


async def as_root(broker, *, topics=(), rights=(), size=1_048_588) -> None:
    """Make `topics` that take batches of so many bytes, and let `reader` do what `rights` says: kind, name, operation, permission."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=broker.url.removeprefix("kafka://"),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="root",
        sasl_plain_password="r",
    )
    await admin.start()
    try:
        if topics:
            limit = {"max.message.bytes": str(size)}
            made = [NewTopic(topic, 1, 1, topic_configs=limit) for topic in topics]
            await admin.create_topics(made)
        await add_rules(admin, [Rule(*right) for right in rights])
    finally:
        await admin.close()


async def test_who_may_only_read_reads_and_settles(guarded) -> None:
    """Row 23: the layer opens; the right to write is asked for when something is published."""
    topic, group = fresh("topic"), fresh("group")
    rights = [(TOPIC, topic, READ, ALLOW), (GROUP, group, READ, ALLOW)]
    await as_root(guarded, topics=[topic], rights=rights)
    async with layer_of(guarded, "root", "r") as root:
        await root.publish([record(topic, 0), record(topic, 1)])
    async with layer_of(guarded, "reader", "w") as layer:
        async with feed_of(layer, topic, group) as feed:
            got = await take(feed, 2)
            assert bodies(got) == [0, 1]
            await ack(feed, got[:1])
            with pytest.raises(PublishFailed, match="check the rights") as caught:
                await layer.publish([record(topic, 2)])
            assert not caught.value.indeterminate
            await ack(feed, got[1:])
        found = {one.name: one for one in await layer.check()}
        assert found["brokers"].value == 1
        assert found["retention"].value is found["max_message_bytes"].value is None
        with pytest.raises(LayerError, match="check the rights"):
            await layer.remove_group([topic], group)


async def test_who_may_not_read_settings_learns_how_large_a_batch_may_be(guarded) -> None:
    """Row 27: that of a topic is asked for; who is not told finds out."""
    topic = fresh("topic")
    await as_root(guarded, topics=[topic], rights=[(TOPIC, topic, WRITE, ALLOW)], size=900)
    async with layer_of(guarded, "reader", "w") as layer:
        await layer.publish([Record(topic, b"x" * 200, f"{i}") for i in range(40)])
    async with layer_of(guarded, "root", "r") as layer, feed_of(layer, topic, "g") as feed:
        assert {one.record.id for one in await take(feed, 40)} == {f"{i}" for i in range(40)}


async def test_a_group_that_may_not_be_joined_is_refused(guarded) -> None:
    topic = fresh("topic")
    await as_root(guarded, topics=[topic], rights=[(TOPIC, topic, READ, ALLOW)])
    async with layer_of(guarded, "reader", "w") as layer:
        with anyio.fail_after(SOON), pytest.raises(LayerError, match="check the rights"):
            async with feed_of(layer, topic, fresh("group")):
                pass
        assert "open" in repr(layer)


async def test_a_dead_letter_topic_that_is_forbidden(guarded) -> None:
    topic, dead, group = fresh("topic"), fresh("dead"), fresh("group")
    rights = [
        *((TOPIC, topic, READ, ALLOW), (GROUP, group, READ, ALLOW)),
        (TOPIC, dead, DESCRIBE, ALLOW),
    ]
    await as_root(guarded, topics=[topic, dead], rights=rights)
    async with layer_of(guarded, "root", "r") as root:
        await root.publish([record(topic, 0)])
    async with layer_of(guarded, "reader", "w") as layer, feed_of(layer, topic, group) as feed:
        (one,) = await take(feed, 1)
        letter = Record(dead, b"0", "id")
        (reply,) = await feed.settle([Settlement(one.token, Verb.REJECT, dead_letter=letter)])
        assert isinstance(reply, LayerError)
        assert not isinstance(reply, ConnectionLost)
        assert "check the rights" in str(reply)
        await ack(feed, [one])


async def test_a_commit_without_the_right_is_refused_and_stays_owed(guarded) -> None:
    """And of a commit over two topics only that of the forbidden one is."""
    one, two, group = fresh("one"), fresh("two"), fresh("group")
    rights = [(TOPIC, topic, READ, ALLOW) for topic in (one, two)]
    await as_root(guarded, topics=[one, two], rights=[*rights, (GROUP, group, READ, ALLOW)])
    async with layer_of(guarded, "root", "r") as root:
        await root.publish([record(one, 1), record(one, 2), record(two, 3)])
    async with layer_of(guarded, "reader", "w") as layer:
        opened = layer.consume([one, two], group, in_flight=9, lease=60.0, start=Start.EARLIEST)
        async with opened as feed:
            got = {int(leased.record.body): leased for leased in await take(feed, 3)}
            await as_root(guarded, rights=[(TOPIC, one, READ, DENY)])
            with anyio.fail_after(SOON):
                while True:
                    replies = await feed.settle(
                        [Settlement(got[number].token, Verb.ACK) for number in (1, 3)]
                    )
                    if replies[0] is not Outcome.CONFIRMED:
                        break
            assert isinstance(replies[0], LayerError)
            assert not isinstance(replies[0], ConnectionLost)
            assert "check the rights" in str(replies[0])
            assert replies[0].__cause__ is not None
            assert replies[1] is Outcome.CONFIRMED
