"""MQTT: acknowledged subscriptions to filters, with `+` and `#`; and what is retained."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import Channel, ConfigurationError, Delivery, Topic
from acked.conformance.harness import fresh
from acked.errors import PublishFailed
from acked.layers.mqtt import MQTTLayer
from acked.layers.mqtt._filters import matcher, matches_any, without_covered
from tests.layers.mqtt.kit import feed_at, foreign_client, take, what_is_owed

pytestmark = pytest.mark.anyio


async def next_of(sub: Any, count: int) -> list[Delivery[Any]]:
    with anyio.fail_after(10):
        return [await anext(sub) for _ in range(count)]


def seen(deliveries: Sequence[Delivery[Any]]) -> list[tuple[str, Any]]:
    return [(one.topic, one.body) for one in deliveries]


async def test_a_filter_brings_what_matches_with_acknowledgement_and_new_topics_too(
    url: str, topic: str
) -> None:
    readings = Topic(f"{topic}/+/temperature", float)
    async with Channel(MQTTLayer(url, mandatory=False)) as channel:
        async with channel.subscribe(readings, group="g", patterns=True) as sub:
            await channel.publish(f"{topic}/1/temperature", 20.5)
            await channel.publish(f"{topic}/1/humidity", 60)
            await channel.publish(f"{topic}/new/temperature", 21)
            first, second = await next_of(sub, 2)
            assert seen([first, second]) == [
                (f"{topic}/1/temperature", 20.5),
                (f"{topic}/new/temperature", 21.0),
            ]
            await first.ack()
        # The session goes on for the group, while nobody is there, too.
        await channel.publish(f"{topic}/2/temperature", 22)
        async with channel.subscribe(readings, group="g", patterns=True) as sub:
            again, third = await next_of(sub, 2)
            assert seen([again, third]) == [
                (f"{topic}/new/temperature", 21.0),
                (f"{topic}/2/temperature", 22.0),
            ]
            await again.ack()
            await third.ack()
        await channel.remove_group(readings, group="g", patterns=True)
    async with Channel(MQTTLayer(url)) as channel:
        with pytest.raises(PublishFailed, match="no session subscribes"):
            await channel.publish(f"{topic}/2/temperature", 23)


async def test_a_message_that_matches_several_filters_arrives_once_as_the_first_says(
    url: str, topic: str
) -> None:
    several = (Topic(f"{topic}/a", int), Topic(f"{topic}/#", object))
    async with Channel(MQTTLayer(url)) as channel:
        async with channel.subscribe(*several, group="g", patterns=True) as sub:
            await channel.publish(f"{topic}/a", 1)
            await channel.publish(f"{topic}/a/b", "two")
            await channel.publish(topic, "three")
            got = await next_of(sub, 3)
            assert seen(got) == [(f"{topic}/a", 1), (f"{topic}/a/b", "two"), (topic, "three")]
            for one in got:
                await one.ack()


async def test_those_who_share_a_group_share_what_matches(url: str, topic: str) -> None:
    async with Channel(MQTTLayer(url, client_id=fresh("member"), shared=True)) as channel:
        pattern = f"{topic}/+"
        async with (
            channel.subscribe(pattern, group="g", patterns=True) as one,
            channel.subscribe(pattern, group="g", patterns=True) as other,
        ):
            for n in range(10):
                await channel.publish(f"{topic}/{n}", n)
            got = await next_of(one, 5) + await next_of(other, 5)
            assert sorted(delivery.body for delivery in got) == list(range(10))
            for delivery in got:
                await delivery.ack()


@pytest.mark.parametrize("pattern", ["a+", "a/#/b", "#a", "$share/g/a", "a/+b/c"])
def test_what_is_no_filter_is_refused_with_words(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"filter"):
        Channel(MQTTLayer()).subscribe(pattern, group="g", patterns=True)


levels = st.lists(st.sampled_from(["a", "b", "", "$c"]), min_size=1, max_size=4)
names = levels.map("/".join).filter(bool)


@st.composite
def filters(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(["a", "b", "", "$c", "+"]), min_size=1, max_size=4))
    return "/".join([*parts, "#"] if draw(st.booleans()) else parts) or "+"


def by_definition(pattern: list[str], topic: list[str]) -> bool:
    """MQTT 5, 4.7, word for word."""
    if not pattern:
        return not topic
    if pattern == ["#"]:
        return True
    if not topic:
        return False
    return pattern[0] in {"+", topic[0]} and by_definition(pattern[1:], topic[1:])


@given(filters(), names)
def test_the_matcher_is_that_of_mqtt(pattern: str, topic: str) -> None:
    hidden = topic.startswith("$") and pattern[0] in "+#"
    expected = not hidden and by_definition(pattern.split("/"), topic.split("/"))
    assert matcher(pattern)(topic) == expected


@given(st.lists(filters(), min_size=1, max_size=4), names)
def test_what_is_left_of_several_filters_matches_the_same(several: list[str], topic: str) -> None:
    left = without_covered(several)
    assert set(left) <= set(several)
    expected = any(matcher(one)(topic) for one in several)
    assert matches_any(several)(topic) == matches_any(left)(topic) == expected


async def test_a_retained_message_of_before_is_delivered_where_it_was_asked_for(
    url: str, topic: str
) -> None:
    with foreign_client(url) as client:
        client.publish(topic, b"old", qos=1, retain=True).wait_for_publish(10)
        assert await what_is_owed(url, topic) == []
        async with feed_at(url, topic, group="new", retained=True) as (_, feed):
            (leased,) = await take(feed, 1)
            assert leased.record.body == b"old"
            assert leased.record.headers == {"mqtt-retain": "true"}
            client.publish(topic, b"live", qos=1, retain=True).wait_for_publish(10)
            (live,) = await take(feed, 1)
            assert (live.record.body, live.record.headers) == (b"live", {})
        # It is owed still, and what is retained now is for groups that are new.
        assert await what_is_owed(url, topic, group="new", retained=True) == ["old", "live"]
        client.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)


def test_those_who_share_are_sent_nothing_that_is_retained() -> None:
    with pytest.raises(ConfigurationError, match="retained=True and shared=True"):
        MQTTLayer(shared=True, client_id="one", retained=True)
