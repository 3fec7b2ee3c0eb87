"""The channel: what may be asked of which layer, and how it says no."""

import pytest

from acked import (
    MSGPACK,
    RAW,
    CapabilityError,
    Channel,
    ChannelClosed,
    ConfigurationError,
    EncodeError,
    MessageTooLarge,
    Overflow,
    Publish,
    Redelivery,
    Start,
    Topic,
)
from acked.types import Capabilities, Outcome
from tests.core.scripted import EVERYTHING, ScriptedLayer, ScriptedNews, leased, without

pytestmark = pytest.mark.anyio


async def test_publish_hands_over_the_body_and_what_travels_with_it() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        receipt = await channel.publish(
            Topic("orders", dict[str, int]), {"a": 1}, key="k", headers={"source": "web"}
        )
    (record,) = layer.published
    assert (record.topic, record.body, record.key) == ("orders", b'{"a":1}', "k")
    assert dict(record.headers) == {"source": "web"}
    assert record.content_type == "application/json"
    assert receipt.id == record.id
    assert record.timestamp > 1.7e9


async def test_ids_are_unique_and_a_topics_codec_wins_over_the_channels() -> None:
    layer = ScriptedLayer()
    raw = Topic("raw", bytes, codec=RAW)
    async with Channel(layer, codec=MSGPACK) as channel:
        receipts = await channel.publish_many("t", range(100))
        await channel.publish(raw, b"\x00\xff")
    assert len({receipt.id for receipt in receipts}) == 100
    assert layer.published[5].body == b"\x05"
    assert layer.published[-1].body == b"\x00\xff"
    assert "00" not in repr(layer.published[-1]).replace(layer.published[-1].id, "")


async def test_a_body_of_another_class_is_refused_before_anything_is_sent() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        with pytest.raises(EncodeError, match=r"Topic\('n', int\) carries int, not str"):
            await channel.publish(Topic("n", int), "seven")  # type: ignore[misc]
        with pytest.raises(EncodeError, match="type object"):
            await channel.publish("t", object())
        with pytest.raises(EncodeError):
            await channel.publish_many(Topic("n", int), [1, "two"])  # type: ignore[list-item]
        await channel.publish(Topic("f", float), 1)
    assert len(layer.published) == 1


async def test_a_batch_of_messages_is_sent_whole_or_not_at_all() -> None:
    layer, numbers = ScriptedLayer(), Topic("n", int)
    async with Channel(layer) as channel:
        receipts = await channel.publish_many(Publish(numbers, n, key=str(n)) for n in range(3))
        assert [one.id for one in layer.published] == [receipt.id for receipt in receipts]
        assert [one.key for one in layer.published] == ["0", "1", "2"]
        with pytest.raises(EncodeError):
            await channel.publish_many([Publish(numbers, 1), Publish(numbers, "two")])
        for wrong in (numbers, "n", 7, [1], [Publish(numbers, 1), None]):
            with pytest.raises(ConfigurationError, match="publish_many takes"):
                await channel.publish_many(wrong)  # type: ignore[call-overload]
        assert await channel.publish_many([]) == []
    assert len(layer.published) == 3


async def test_too_large_a_message_is_refused_with_both_sizes() -> None:
    layer = ScriptedLayer(capabilities=without(max_payload=10))
    raw = Topic("raw", bytes, codec=RAW)
    async with Channel(layer) as channel:
        await channel.publish(raw, b"x" * 10)
        with pytest.raises(MessageTooLarge, match=r"11 bytes.*limit of 10 bytes") as caught:
            await channel.publish(raw, b"x" * 11)
    assert (caught.value.size, caught.value.limit) == (11, 10)
    assert len(layer.published) == 1


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "x" * 250, "\ud800"])
def test_a_topic_with_illegal_characters_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Topic(name, int)


async def test_a_layer_can_be_stricter_about_topics() -> None:
    layer = ScriptedLayer(capabilities=without(topic_pattern="[a-z.]+"))
    async with Channel(layer) as channel:
        await channel.publish("orders.new", 1)
        with pytest.raises(ConfigurationError, match=r"orders new.*\[a-z\.\]\+"):
            await channel.publish("orders new", 1)
        with pytest.raises(ConfigurationError):
            channel.subscribe("orders new", group="g")


@pytest.mark.parametrize("headers", [{"a": "\ud800"}, {"\ud800": "a"}, {"a": 1}, {"a": b"bytes"}])
async def test_illegal_headers_are_refused_and_never_mangled(headers) -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        with pytest.raises(EncodeError):
            await channel.publish("t", 1, headers=headers)
    assert layer.published == []


async def test_headers_and_keys_need_a_layer_that_carries_them() -> None:
    layer = ScriptedLayer(capabilities=without(headers=False, keys=False))
    async with Channel(layer) as channel:
        with pytest.raises(CapabilityError, match="no headers"):
            await channel.publish("t", 1, headers={"a": "b"})
        with pytest.raises(CapabilityError, match="no keys"):
            await channel.publish("t", 1, key="k")


async def test_options_of_the_other_kind_are_refused() -> None:
    entries, news = Channel(ScriptedLayer()), Channel(ScriptedNews())
    with pytest.raises(CapabilityError, match="no option overflow="):
        entries.subscribe("t", group="g", overflow=Overflow.BLOCK)  # type: ignore[call-overload]
    with pytest.raises(CapabilityError, match="no option group="):
        news.subscribe("t", group="g")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="needs group="):
        entries.subscribe("t")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="at least one topic"):
        entries.subscribe(group="g")
    with pytest.raises(ConfigurationError, match="given twice"):
        entries.subscribe("t", "t", group="g")


@pytest.mark.parametrize(
    "options",
    [{"in_flight": 0}, {"in_flight_bytes": 0}, {"lease": 0}, {"close_timeout": -1}, {"group": ""}],
)
def test_values_that_cannot_be_are_refused(options) -> None:
    with pytest.raises(ConfigurationError):
        Channel(ScriptedLayer()).subscribe("t", **({"group": "g"} | options))


def test_policies_that_lose_silently_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs dead_letter="):
        Redelivery(max_deliveries=3)
    with pytest.raises(ConfigurationError, match="at least 1"):
        Redelivery(max_deliveries=0, dead_letter="d")
    with pytest.raises(ConfigurationError):
        Redelivery(dead_letter="")
    with pytest.raises(ConfigurationError, match="capacity=0"):
        Channel(ScriptedNews()).subscribe("t", capacity=0)


def test_what_the_layer_lacks_is_refused_at_once() -> None:
    channel = Channel(ScriptedLayer(capabilities=without(dead_letter=False, replay=False)))
    with pytest.raises(CapabilityError, match="no dead letters"):
        channel.subscribe("t", group="g", redelivery=Redelivery(dead_letter="d"))
    with pytest.raises(CapabilityError, match="leave start= out"):
        channel.subscribe("t", group="g", start=Start.LATEST)


def test_something_that_is_no_layer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no layer"):
        Channel(object())  # type: ignore[type-var]


async def test_a_fire_and_forget_layer_gives_no_receipt() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel:
        await channel.publish("t", 1)
        await channel.publish_many("t", [2, 3])
    assert [record.body for record in layer.published] == [b"1", b"2", b"3"]
    with pytest.raises(ChannelClosed):
        await channel.publish("t", 1)


async def test_a_layer_that_does_not_open_leaves_the_channel_closed() -> None:
    class Closed(ScriptedLayer):
        async def __aenter__(self):
            raise ZeroDivisionError

    channel = Channel(Closed())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await channel.__aenter__()


async def test_a_subscription_that_does_not_open_is_forgotten() -> None:
    class Refusing(ScriptedLayer):
        def consume(self, *args, **kwargs):
            raise ZeroDivisionError

    async with Channel(Refusing()) as channel:
        with pytest.raises(ZeroDivisionError):
            await channel.subscribe("t", group="g").__aenter__()
        assert "0 subscriptions" in repr(channel)


async def test_several_topics_each_decode_by_their_own_type() -> None:
    layer = ScriptedLayer(leased(1, b"1"), leased(2, b'"a"', topic="u"))
    async with (
        Channel(layer) as channel,
        channel.subscribe(Topic[int | str]("t", int), Topic("u", str), group="g") as sub,
    ):
        first, second = await anext(sub), await anext(sub)
        assert (first.body, second.body) == (1, "a")
        assert (first.topic, second.topic) == ("t", "u")
        await first.ack()
        await second.ack()


async def test_a_confirmation_that_does_not_exist_counts_as_settled() -> None:
    layer = ScriptedLayer(leased(1))
    layer.outcome = Outcome.SENT
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await (await anext(sub)).ack()
        assert sub.statistics().acked == 1


def test_reprs_help_and_hide_the_payload() -> None:
    channel = Channel(ScriptedLayer())
    sub = channel.subscribe("t", group="g")
    assert "Subscription to t as 'g'" in repr(sub)
    assert "closed, 0 subscriptions" in repr(channel)
    assert repr(Topic("t", int)) == "Topic('t', int)"
    assert "Subscription to t:" in repr(Channel(ScriptedNews()).subscribe("t"))


@pytest.mark.parametrize("url", ["nonsense", "no-such-layer://x"])
def test_an_unknown_scheme_names_those_that_are_there(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"installed: .*memory-queue"):
        Channel.from_url(url)


def test_capabilities_are_data() -> None:
    assert Capabilities().confirmed_ack is False
    assert EVERYTHING.lease == "timer"
