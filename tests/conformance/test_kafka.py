"""The laws on Kafka, in real time, on a real broker. Its leases are memberships.

With one partition, where its order is total, and with three. There some laws accuse it wrongly:
they compare in the order of publishing, or end at a last message, and Kafka claims an order within
each partition only.
"""

import gc
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from acked import Start
from acked.conformance import AckLayerLaws
from acked.layers.kafka import KafkaLayer
from compose.lifecycle import Broker
from tests.conformance.brokered import BrokerHarness
from tests.fix_proxy import Proxy
from tests.layers.kafka_kit import evict, group_at, members_of

SESSION = 6.0
"""Seconds: the shortest that brokers allow by default."""


class KafkaHarness(BrokerHarness):
    recovery = 2 * SESSION
    examples = 8
    notice = 15.0  # two timeouts, and what it takes on a busy machine

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
        servers = self.broker.url.removeprefix("kafka://")
        small = NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1"})
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        try:
            await admin.create_topics([small])
        finally:
            await admin.close()


@contextmanager
def harness_on(broker: Broker, between: Proxy, partitions: int) -> Iterator[KafkaHarness]:
    """Give a harness whose topics have so many partitions."""
    url = f"{between.url}?create_topics={partitions}&timeout=4&session_timeout={SESSION}"
    yield KafkaHarness(broker, between, url, KafkaLayer.from_url)
    # aiokafka forgets a connection that is being made while its client is closed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


OUTDATED = {
    "test_a_rebalance_loses_nothing_and_repeats_only_the_unsettled": (
        "the law waits for what is in hand to come again; it stays in hand now"
    ),
    "test_a_batch_that_waits_is_handed_out_when_it_is_full": (
        "the law waits for seven to be fetched that nobody asked for"
    ),
    "test_what_the_dead_letters_do_not_take_stays_owed": (
        "the law waits for AckUnconfirmed; a refusal is told as one now"
    ),
}
"""Laws that accuse what the contract asks for now, and their reasons."""


def excuse(request: pytest.FixtureRequest, wrong: Mapping[str, str]) -> None:
    """Expect a law to fail that accuses wrongly."""
    reason = wrong.get(request.node.name.partition("[")[0])
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))


class TestKafka(AckLayerLaws):
    @pytest.fixture
    def harness(self, request, module_broker, proxy) -> Iterator[KafkaHarness]:
        excuse(request, OUTDATED)
        broker = module_broker("kafka")
        with harness_on(broker, proxy(broker), 1) as harness:
            yield harness


IN_TOTAL_ORDER = frozenset(
    {
        "test_a_body_that_does_not_decode_raises_and_stays_owed",
        "test_a_group_is_owed_what_is_published_while_nobody_consumes",
        "test_a_nacked_message_comes_before_what_was_not_delivered",
        "test_a_publish_that_was_cut_at_any_step_is_whole_or_absent",
        "test_a_rejected_message_never_comes_again",
        "test_acks_flow_while_the_window_is_closed",
        "test_an_ack_that_returned_survives_sigkill_on_the_next_line",
        "test_an_acked_message_never_comes_again",
        "test_bodies_arrive_byte_for_byte",
        "test_consuming_goes_on_after_the_broker_restarted",
        "test_consuming_goes_on_after_the_broker_was_killed",
        "test_delayed_nacks_do_not_eat_the_window",
        "test_headers_arrive_as_they_were",
        "test_what_a_leaving_holder_did_not_settle_comes_again_at_once",
        "test_what_one_group_settles_is_owed_to_another",
        "test_what_the_broker_refuses_is_not_said_to_be_accepted",
        "test_without_a_dead_letter_topic_there_is_no_letter",
    }
)
"""Laws that accuse wrongly where order is within a partition."""


class TestKafkaWithThreePartitions(AckLayerLaws):
    @pytest.fixture
    def harness(self, request, module_broker, proxy) -> Iterator[KafkaHarness]:
        words = "the law compares in total order, and the layer claims less"
        excuse(request, OUTDATED | dict.fromkeys(IN_TOTAL_ORDER, words))
        broker = module_broker("kafka")
        with harness_on(broker, proxy(broker), 3) as harness:
            yield harness
