"""What travels beside a body is bounded: told at `publish`, kept to on receipt, nobody is stopped."""

import logging
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from acked import Channel, ConfigurationError, DecodeError, Redelivery, Topic, fire_and_forget
from acked._core.ack.dead_letter_headers import Reason
from acked._core.ack.dead_letters import dead_letter
from acked._core.bounds import is_within_bounds
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Leased, Record, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, leased, without

pytestmark = pytest.mark.anyio

BEYOND: list[tuple[dict[str, Any], str]] = [
    ({"id": "i" * 256}, "needs 1 to 255 characters"),
    ({"key": "k" * 4097}, r"key of 4097 characters \(4096 is the most\)"),
    ({"headers": {str(n): "" for n in range(257)}}, r"257 headers \(256 is the most\)"),
    ({"headers": {"n" * 1025: ""}}, r"header's name of 1025 characters \(1024"),
    ({"headers": {"n": "v" * 65_536}}, r"headers of 65537 characters \(65536"),
]
WITHIN: list[dict[str, Any]] = [
    {"id": "i" * 255},
    {"key": "k" * 4096},
    {"headers": {str(n): "" for n in range(256)}},
    {"headers": {"n" * 1024: "v" * (65_536 - 1024)}},
]


@pytest.mark.parametrize(("options", "words"), BEYOND, ids=lambda it: str(it)[:30])
async def test_what_is_beyond_a_bound_is_refused_and_nothing_is_sent(
    options: dict[str, Any], words: str
) -> None:
    for layer in (ScriptedLayer(), ScriptedNews(capabilities=without(lossy=True))):
        async with Channel(layer) as channel:
            with pytest.raises(ConfigurationError, match=words) as caught:
                await channel.publish("t", 1, **options)
            assert len(str(caught.value)) < 200
        assert layer.published == []


@pytest.mark.parametrize("options", WITHIN, ids=lambda it: str(it)[:30])
async def test_what_is_at_its_bound_arrives_and_so_does_its_dead_letter(
    options: dict[str, Any],
) -> None:
    """Twice over: a dead letter is larger than its original, and the letter of one no more."""
    async with Channel(MemoryQueueLayer()) as channel:
        first = Redelivery(dead_letter="dead")
        second = Redelivery(dead_letter="deader")
        async with (
            channel.subscribe("t", group="g" * 249, redelivery=first) as sub,
            channel.subscribe("dead", group="g", redelivery=second) as dead,
            channel.subscribe("deader", group="g") as deader,
        ):
            await channel.publish("t", 1, **options)
            with anyio.fail_after(5):
                delivery = await anext(sub)
                for name, given in options.items():
                    assert getattr(delivery, name) == given
                await delivery.reject("é" * 5000)
                await (await anext(dead)).reject("é" * 5000)
                await (await anext(deader)).ack()


def test_a_content_type_of_a_codec_has_a_bound_too() -> None:
    class Long:
        content_type = "t" * 256

        def encoder(self, payload: Any) -> Any: ...

        def decoder(self, payload: Any) -> Any: ...

    topic = Topic("t", object, codec=Long())

    async def main() -> None:
        async with Channel(MemoryLayer()) as channel:
            with pytest.raises(ConfigurationError, match="content type of 256 characters"):
                await channel.publish(topic, 1)

    anyio.run(main)


ESC = "\n\x1b[31m"
HOSTILE: dict[str, Record] = {
    "id": Record("t", b"1", ESC * 60_000),
    "key": Record("t", b"1", "id", ESC * 60_000),
    "content type": Record("t", b"1", "id", content_type=ESC * 60_000),
    "300 headers": Record("t", b"1", "id", None, {f"{ESC}{n}": ESC for n in range(300)}),
    "header's name": Record("t", b"1", "id", None, {ESC * 60_000: ""}),
    "headers of": Record("t", b"1", "id", None, {"n": ESC * 60_000}),
}


def hostile() -> list[Leased]:
    return [Leased(record, -n, 1, f"at {n}") for n, record in enumerate(HOSTILE.values(), 1)]


async def test_a_consumer_goes_on_and_what_was_beyond_is_a_letter_with_its_body_whole() -> None:
    layer = ScriptedLayer(leased(1), *hostile(), leased(2))
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", redelivery=Redelivery(dead_letter="dead")) as sub,
    ):
        with anyio.fail_after(5):
            for name in ("id-1", "id-2"):
                delivery = await anext(sub)
                assert delivery.id == name
                await delivery.ack()
        statistics = sub.statistics()
    assert (statistics.dead_lettered, statistics.set_aside, statistics.delivered) == (6, 0, 2)
    letters = [one.dead_letter for batch in layer.batches for one in batch if one.dead_letter]
    assert len(letters) == len(HOSTILE)
    for what, letter in zip(HOSTILE, letters, strict=True):
        assert letter.body == b"1"
        assert what in letter.headers["acked-cut"]
        assert is_within_bounds(letter)
        assert len(str(letter.headers)) < 10_000


async def test_without_dead_letters_it_is_set_aside_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedLayer(leased(1), *hostile(), *hostile(), leased(2))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        with anyio.fail_after(5), caplog.at_level(logging.ERROR, "acked.subscription"):
            async with await anext(sub), await anext(sub) as last:
                assert last.id == "id-2"
        statistics = sub.statistics()
    assert (statistics.set_aside, statistics.dead_lettered, statistics.acked) == (12, 0, 2)
    assert statistics.delivered == statistics.acked
    assert sorted(layer.settled(Verb.ACK)) == [*sorted(-n for n in [*range(1, 7)] * 2), 1, 2]
    said = [one.getMessage() for one in caplog.records]
    assert [one.split()[0] for one in said] == ["1", "10"]
    assert not [one for one in said if "\n" in one or "\x1b" in one or len(one) > 1500]


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE)
async def test_news_that_are_beyond_are_skipped_or_raised(record: Record) -> None:
    layer = ScriptedNews(capabilities=without(lossy=True))
    async with (
        Channel(layer) as channel,
        channel.subscribe("t") as skips,
        channel.subscribe("t", on_undecodable="raise") as raises,
    ):
        for sink in layer.sinks:
            sink.offer(record)
            sink.offer(Record("t", b"2", "good"))
        with anyio.fail_after(5):
            assert (await anext(skips)).id == "good"
            with pytest.raises(DecodeError) as caught:
                await anext(raises)
            assert (await anext(raises)).id == "good"
        assert skips.statistics().undecodable == 1
        said = str(caught.value)
        assert "\n" not in said
        assert len(said) < 1500


async def test_an_ack_layer_as_news_skips_it_too() -> None:
    layer = ScriptedLayer(*hostile(), leased(2))
    async with Channel(fire_and_forget(layer)) as channel, channel.subscribe("t") as sub:
        with anyio.fail_after(5):
            assert (await anext(sub)).id == "id-2"
        assert sub.statistics().undecodable == len(HOSTILE)


def headers_of(count: int) -> Mapping[str, str]:
    return {f"h{n}": "v" for n in range(count)}


@pytest.mark.parametrize("count", [0, 1, 256])
def test_a_letter_of_a_letter_is_within_the_bounds_however_often_it_dies(count: int) -> None:
    record = Record("t" * 249, b"", "i" * 255, "k" * 4096, headers_of(count), "c" * 255, 1.5)
    for attempt in range(5):
        held = Leased(record, 1, attempt, "p" * 100)
        record = dead_letter(
            held, "d" * 249, group="g" * 249, reason=Reason("😀" * 3000, "E" * 3000)
        )
        assert is_within_bounds(record)
