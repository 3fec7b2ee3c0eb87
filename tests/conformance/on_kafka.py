"""A real Kafka for the laws, in real time; its leases are memberships.

It claims an order within each partition only: so the laws are tried with one and with three. Each in
a module and on a broker of its own: killed, a broker looks through every topic of the laws before.
"""

import gc
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType

import anyio
from aiokafka.admin import NewTopic

from acked import Start
from acked.conformance.harness import Call
from acked.layers.kafka import KafkaLayer
from compose.kafka.recipe import KafkaRecipe
from compose.lifecycle import Broker
from compose.native.server import NativeBroker
from tests.conformance.brokered import BrokerHarness
from tests.fix_brokers import or_skip
from tests.fix_proxy import Proxy
from tests.layers.kafka_acls import ALL, ALLOW, DENY, READ, TOPIC, WRITE, Rule, ruled
from tests.layers.kafka_kit import admin_of, evict, group_at, members_of

SESSION = 3.0
"""Seconds; brokers allow six at least by default, ours are told otherwise."""
EVERYBODY = "User:ANONYMOUS"
GUARDED = (
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
)
"""Whoever comes may do whatever no rule is about."""


class KafkaHarness(BrokerHarness):
    recovery = 2 * SESSION
    examples = 8
    notice = 15.0  # two timeouts, and what it takes on a busy machine
    lacks = MappingProxyType(
        {
            "busy": "a broker alone has no replicas to lack, and its quotas only make one wait",
            "set_clock": "Kafka keeps no lease and no delay of a message by a clock",
        }
    )

    async def end_leases(self, topic: str, group: str) -> None:
        """Let nothing be heard of the members until another one has what they held."""
        self.proxy.black_hole()
        await evict(self.broker, group, await members_of(self.broker, group))
        async with KafkaLayer.from_url(self.broker.url) as layer:
            async with layer.consume([topic], group, in_flight=1, lease=1, start=Start.EARLIEST):
                self.proxy.heal()
                with anyio.fail_after(4 * SESSION):
                    while not await self.are_two_in(group):
                        await anyio.sleep(0.1)

    async def are_two_in(self, group: str) -> bool:
        """Return whether `group` is at rest with two members, each told what it has."""
        state, members = await group_at(self.broker, group)
        return state == "Stable" and len(members) == 2

    async def refuse(self, topic: str) -> None:
        """Make it with room for no record."""
        small = NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1"})
        async with admin_of(self.broker) as admin:
            await admin.create_topics([small])

    @asynccontextmanager
    async def forbid(self, call: Call) -> AsyncGenerator[None]:
        """Let nobody write to any topic; or read, which committing takes, too."""
        what = WRITE if call == "publish" else READ
        rules = [(ALL, ALLOW), (what, DENY)]
        async with admin_of(self.broker) as admin:
            async with ruled(admin, [Rule(TOPIC, "*", *one, EVERYBODY) for one in rules]):
                yield


@contextmanager
def guarded_kafka() -> Iterator[Broker]:
    """Give a broker that may be told who may do what."""
    broker = NativeBroker(KafkaRecipe(more=GUARDED))
    or_skip("kafka", broker.start)
    yield broker
    broker.close()


@contextmanager
def harness_on(broker: Broker, between: Proxy, partitions: int) -> Iterator[KafkaHarness]:
    """Give a harness whose topics have so many partitions; whatever happened to it, it runs."""
    broker.start()
    broker.resume()
    url = f"{between.url}?create_topics={partitions}&timeout=4&session_timeout={SESSION}"
    yield KafkaHarness(broker, between, url, KafkaLayer.from_url)
    # aiokafka forgets a connection that is being made while its client is closed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
