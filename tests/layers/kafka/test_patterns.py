"""Kafka: one group for all topics whose names match, also for those that are made later."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import Channel, ConfigurationError, Delivery, LayerError, Start, Topic
from acked.conformance.harness import fresh
from acked.layers.kafka import KafkaLayer
from acked.layers.kafka._topic_choice import TopicChoice, matcher
from tests.layers.kafka_kit import SOON, admin_of, layer_at, record

pytestmark = pytest.mark.anyio


async def next_of(sub: Any, count: int) -> list[Delivery[Any]]:
    with anyio.fail_after(SOON):
        return [await anext(sub) for _ in range(count)]


async def acked(sub: Any, count: int) -> list[tuple[str, Any]]:
    """Take and ack so many; return their topics and bodies, in order of the names."""
    got = await next_of(sub, count)
    for one in got:
        await one.ack()
    return seen(got)


def seen(deliveries: Sequence[Delivery[Any]]) -> list[tuple[str, Any]]:
    return sorted((one.topic, one.body) for one in deliveries)


async def test_what_matches_comes_with_acknowledgement_and_new_topics_too(kafka_broker) -> None:
    plant = fresh("plant")
    readings = Topic(rf"^{plant}\.\d+\.temperature$", float)
    async with Channel(layer_at(kafka_broker)) as channel:
        await channel.publish(f"{plant}.1.temperature", 20.5)
        await channel.publish(f"{plant}.1.humidity", 60)
        async with channel.subscribe(readings, group="g", patterns=True) as sub:
            assert await acked(sub, 1) == [(f"{plant}.1.temperature", 20.5)]
            await channel.publish(f"{plant}.2.temperature", 21)
            (new,) = await next_of(sub, 1)
            assert seen([new]) == [(f"{plant}.2.temperature", 21.0)]
            await channel.publish(f"{plant}.1.temperature", 22)
            assert await acked(sub, 1) == [(f"{plant}.1.temperature", 22.0)]
            await new.ack()  # it was kept while the group was joined anew
            await channel.publish(f"{plant}.1.temperature", 23)
        await channel.publish(f"{plant}.3.temperature", 24)
        async with channel.subscribe(readings, group="g", patterns=True) as sub:
            assert await acked(sub, 2) == [
                (f"{plant}.1.temperature", 23.0),
                (f"{plant}.3.temperature", 24.0),
            ]


async def test_a_group_that_begins_at_the_latest_misses_nothing_of_new_topics(
    kafka_broker,
) -> None:
    """Also where a member that is new meets a topic that those before it have not seen."""
    name = fresh("name")
    options = {"group": "g", "patterns": True, "start": Start.LATEST}
    async with Channel(layer_at(kafka_broker)) as channel:
        await channel.publish(f"{name}-1", "old")
        async with channel.subscribe(f"^{name}-", **options) as sub:
            await channel.publish(f"{name}-1", "new")
            assert await acked(sub, 1) == [(f"{name}-1", "new")]
        await channel.publish(f"{name}-2", "first")
        async with channel.subscribe(f"^{name}-", **options) as sub:
            assert await acked(sub, 1) == [(f"{name}-2", "first")]


async def test_where_nothing_matches_yet_the_first_topic_that_does_is_read(kafka_broker) -> None:
    name = fresh("name")
    async with Channel(layer_at(kafka_broker)) as channel:
        async with channel.subscribe(f"^{name}-", group=fresh("g"), patterns=True) as sub:
            await channel.publish(f"{name}-1", "first")
            assert await acked(sub, 1) == [(f"{name}-1", "first")]


async def test_a_topic_that_matches_several_patterns_arrives_once_as_the_first_says(
    kafka_broker,
) -> None:
    name = fresh("name")
    several = (Topic(f"{name}-1", int), Topic(f"^{name}-", object))
    async with Channel(layer_at(kafka_broker)) as channel:
        await channel.publish(f"{name}-1", 1)
        await channel.publish(f"{name}-2", "two")
        async with channel.subscribe(*several, group="g", patterns=True) as sub:
            assert await acked(sub, 2) == [(f"{name}-1", 1), (f"{name}-2", "two")]
            await channel.publish(f"{name}-2", "three")
            assert await acked(sub, 1) == [(f"{name}-2", "three")]


async def test_members_share_what_matches_and_lose_nothing_when_a_topic_comes(
    kafka_broker,
) -> None:
    name, wanted = fresh("name"), 40
    got: list[int] = []

    async def work(channel: Channel[Any]) -> None:
        async with channel.subscribe(f"^{name}-", group="g", patterns=True) as sub:
            async for delivery in sub:
                await delivery.ack()
                got.append(delivery.body)

    layer = layer_at(kafka_broker, create_topics=2)
    async with Channel(layer) as channel, anyio.create_task_group() as tasks:
        await channel.publish(f"{name}-0", 0)
        for _ in range(2):
            tasks.start_soon(work, channel)
        with anyio.fail_after(3 * SOON):
            for n in range(1, wanted):
                await channel.publish(f"{name}-{n % 4}", n)
                await anyio.sleep(0.05)
            while len(set(got)) < wanted:
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert sorted(got) == list(range(wanted))


async def test_a_topic_that_goes_ends_nothing_and_is_read_when_it_comes_back(
    kafka_broker,
) -> None:
    name = fresh("name")
    async with Channel(layer_at(kafka_broker)) as channel, admin_of(kafka_broker) as admin:
        for n in range(2):
            await channel.publish(f"{name}-{n}", n)
        async with channel.subscribe(f"^{name}-", group="g", patterns=True) as sub:
            assert len(await acked(sub, 2)) == 2
            await admin.delete_topics([f"{name}-1"])
            await channel.publish(f"{name}-0", 10)
            assert await acked(sub, 1) == [(f"{name}-0", 10)]
            with anyio.fail_after(SOON):
                while (await admin.describe_topics([f"{name}-1"]))[0]["error_code"] == 0:
                    await anyio.sleep(0.1)
            await layer_publish(kafka_broker, f"{name}-1", 11)
            assert await acked(sub, 1) == [(f"{name}-1", 11)]


async def layer_publish(broker, topic: str, body: int) -> None:
    async with layer_at(broker) as layer:
        await layer.publish([record(topic, body)])


async def test_a_group_is_removed_with_all_that_its_patterns_match_and_nothing_else(
    kafka_broker,
) -> None:
    name, other, group = fresh("name"), fresh("other"), fresh("group")
    async with Channel(layer_at(kafka_broker)) as channel:
        for topic in (f"{name}-1", f"{name}-2", other):
            await channel.publish(topic, 1)
        async with channel.subscribe(f"^{name}-", group=group, patterns=True) as sub:
            await acked(sub, 2)
        async with channel.subscribe(other, group=group) as sub:
            await acked(sub, 1)
        with pytest.raises(LayerError, match=f"has committed in topic '{other}', too"):
            await channel.remove_group(f"^{name}-", group=group, patterns=True)
        await channel.remove_group(f"^{name}-", other, group=group, patterns=True)
        async with channel.subscribe(f"^{name}-", group=group, patterns=True) as sub:
            assert await acked(sub, 2) == [(f"{name}-1", 1), (f"{name}-2", 1)]


@pytest.mark.parametrize("pattern", ["orders*", "orders/+", "^(", "^(?P<a", "orders|bills"])
def test_what_is_no_pattern_is_refused_with_words(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"begins with \^|is no regular expression"):
        Channel(KafkaLayer()).subscribe(pattern, group="g", patterns=True)


names = st.text("ab.-_", min_size=1, max_size=4)


@given(names, names)
def test_a_name_matches_itself_alone_and_a_beginning_whatever_begins_so(
    one: str, other: str
) -> None:
    assert matcher(one)(other) is (one == other)
    begins = f"^{one}".replace(".", "[.]")
    assert matcher(begins)(other) is other.startswith(one)
    choice = TopicChoice([begins, one, one])
    assert choice.names == (begins, one)
    assert choice.is_open
    assert choice.among({other, one}) == sorted(t for t in {other, one} if t.startswith(one))
