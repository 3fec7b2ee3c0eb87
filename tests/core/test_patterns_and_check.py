"""What a channel asks of a layer's optional abilities: patterns, checks, lag."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import msgspec
import pytest

from acked import (
    CapabilityError,
    Channel,
    ConfigurationError,
    Redelivery,
    Severity,
    Topic,
    fire_and_forget,
)
from acked.abc import AckFeed
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio


class Price(msgspec.Struct):
    cents: int


async def test_a_pattern_brings_every_topic_that_matches_and_says_which() -> None:
    async with (
        Channel(MemoryLayer()) as channel,
        channel.subscribe(Topic("prices.*", Price), patterns=True) as prices,
    ):
        await channel.publish(Topic("prices.a", Price), Price(1))
        await channel.publish("orders", 2)
        await channel.publish(Topic("prices.b", Price), Price(3))
        got = [await anext(prices) for _ in range(2)]
        assert [(message.topic, message.body) for message in got] == [
            ("prices.a", Price(1)),
            ("prices.b", Price(3)),
        ]
        assert prices.statistics().buffered == 0


async def test_a_topic_that_matches_several_patterns_arrives_once_as_the_first_says() -> None:
    """B9: no duplicates."""
    async with (
        Channel(MemoryLayer()) as channel,
        channel.subscribe(
            Topic("a*", int), Topic("*b", object), patterns=True, on_undecodable="raise"
        ) as both,
    ):
        await channel.publish("ab", "no number")
        await channel.publish("cb", "end")
        with pytest.raises(Exception, match="does not decode"):
            await anext(both)
        assert (await anext(both)).topic == "cb"


async def test_a_pattern_is_a_name_where_patterns_were_not_asked_for() -> None:
    async with Channel(MemoryLayer()) as channel, channel.subscribe("a*") as literally:
        await channel.publish("ab", 1)
        await channel.publish("a*", 2)
        assert (await anext(literally)).body == 2


class Prefixes(MemoryQueueLayer):
    """An ack-capable layer whose patterns are prefixes of the two topics it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = msgspec.structs.replace(self.capabilities, patterns=True)  # type: ignore[misc]

    def matcher(self, pattern: str) -> Callable[[str], bool]:
        if not pattern.endswith("^"):
            raise ConfigurationError(f"{pattern!r} does not end with ^")
        return lambda topic: topic.startswith(pattern[:-1])

    def consume_patterns(
        self, patterns: Sequence[str], group: str, /, **options: Any
    ) -> AbstractAsyncContextManager[AckFeed]:
        matches = [self.matcher(pattern) for pattern in patterns]
        known = [one for one in ("prices.a", "prices.b") if any(m(one) for m in matches)]
        return self.consume(known, group, **options)


async def test_a_pattern_of_an_ack_capable_layer_is_its_brokers() -> None:
    async with Channel(Prefixes()) as channel:
        prices = channel.subscribe(
            Topic("prices.^", Price), Topic("^", object), group="g", patterns=True
        )
        assert "prices.^" in repr(prices)
        async with prices:
            await channel.publish(Topic("prices.a", Price), Price(1))
            await channel.publish(Topic("prices.b", Price), Price(2))
            got = [await anext(prices) for _ in range(2)]
            assert {one.topic: one.body for one in got} == {
                "prices.a": Price(1),
                "prices.b": Price(2),
            }
            for one in got:
                await one.ack()


async def test_what_is_no_pattern_is_refused_before_anything_is_opened() -> None:
    channel = Channel(Prefixes())
    with pytest.raises(ConfigurationError, match="does not end"):
        channel.subscribe("prices", group="g", patterns=True)
    with pytest.raises(CapabilityError, match="name each topic"):
        Channel(MemoryQueueLayer()).subscribe("prices.*", group="g", patterns=True)


async def test_dead_letters_that_a_pattern_would_bring_back_are_refused() -> None:
    channel = Channel(Prefixes())
    with pytest.raises(ConfigurationError, match="for ever"):
        channel.subscribe(
            "prices.^", group="g", patterns=True, redelivery=Redelivery(dead_letter="prices.dead")
        )
    channel.subscribe(
        "prices.^", group="g", patterns=True, redelivery=Redelivery(dead_letter="dead.prices")
    )


async def test_as_fire_and_forget_it_has_no_patterns() -> None:
    """Theirs are globs on every layer: another broker's would be another meaning."""
    with pytest.raises(CapabilityError, match="name each topic"):
        Channel(fire_and_forget(Prefixes())).subscribe("prices.^", patterns=True)


async def test_check_says_what_matters_as_data() -> None:
    for layer in (MemoryLayer(), MemoryQueueLayer()):
        async with Channel(layer) as channel:
            (finding,) = await channel.check()
            assert finding.name == "persistence"
            assert finding.value is False
            assert finding.severity is Severity.NOTICE
            assert "memory" in finding.message


class Mute:
    """A third party's layer without the optional abilities."""

    def __init__(self) -> None:
        inner = MemoryLayer()
        self.capabilities = msgspec.structs.replace(inner.capabilities, patterns=False)
        self.publish, self.listen = inner.publish, inner.listen

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...


async def test_what_a_layer_cannot_do_is_refused_with_words() -> None:
    async with Channel(Mute()) as channel:
        with pytest.raises(CapabilityError, match="name each topic"):
            channel.subscribe("a*", patterns=True)
        with pytest.raises(CapabilityError, match=r"Mute has no check\(\)"):
            await channel.check()


async def test_lag_is_what_the_feed_was_told() -> None:
    """Read without I/O, and None where the layer cannot say."""

    class WithLag(MemoryQueueLayer):
        def __init__(self, *, lag: bool) -> None:
            super().__init__()
            self.capabilities = msgspec.structs.replace(self.capabilities, lag=lag)  # type: ignore[misc]

        def consume(self, topics: Sequence[str], group: str, **options: object):
            context = super().consume(topics, group, **options)  # type: ignore[arg-type]

            class Entered:
                async def __aenter__(self):
                    feed = await context.__aenter__()
                    feed.lag = lambda: 7
                    return feed

                async def __aexit__(self, *exc: object):
                    return await context.__aexit__(*exc)

            return Entered()

    async with Channel(WithLag(lag=True)) as channel, channel.subscribe("t", group="g") as sub:
        assert sub.statistics().lag == 7
    async with Channel(WithLag(lag=False)) as channel, channel.subscribe("t", group="g") as sub:
        assert sub.statistics().lag is None
