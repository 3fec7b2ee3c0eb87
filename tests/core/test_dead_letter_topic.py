"""Replaying: first published, then removed; what was not published, or is another's, stays."""

from collections.abc import Mapping, Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acked import (
    CapabilityError,
    Channel,
    ConfigurationError,
    ConnectionLost,
    DeadLetter,
    LayerError,
    PublishFailed,
    Receipt,
    Record,
    Redelivery,
)
from acked._core.ack.dead_letter_headers import own_headers, story_of, with_story
from acked.layers.memory_queue import MemoryQueueLayer
from tests.core.scripted import ScriptedLayer

pytestmark = pytest.mark.anyio

STORY = {"topic": "orders", "group": "g", "id": "1", "reason": "", "died": "1.5"}
NAMES = st.sampled_from(["a", "acked-topic", "acked-acked-topic", "acked-other", "topic"])


@given(st.dictionaries(NAMES, st.text(max_size=3)), st.integers(1, 4))
def test_headers_are_restored_however_often_it_died(own: dict[str, str], deaths: int) -> None:
    headers: Mapping[str, str] = own
    for _ in range(deaths):
        headers = with_story(headers, STORY)
        assert dict(story_of(headers)) == STORY
    for _ in range(deaths):
        headers = own_headers(headers)
    assert dict(headers) == own


class RecordingLayer(MemoryQueueLayer):
    """A memory queue that notes what it is asked, and refuses the ids that a test names."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.refuses: dict[str, Exception] = {}

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        failures = {n: self.refuses[r.id] for n, r in enumerate(records) if r.id in self.refuses}
        taken = [one for n, one in enumerate(records) if n not in failures]
        receipts = await super().publish(taken)
        self.story += [f"published {record.id} to {record.topic}" for record in taken]
        if failures:
            raise PublishFailed("refused", failures, indeterminate=False)
        return receipts

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        self.story.append(f"removed {len(positions)}")
        return await super().remove(topic, positions)


async def with_letters(layer: RecordingLayer, *names: str) -> None:
    """Let messages of these ids be in the dead letters."""
    async with Channel(layer) as channel:
        for name in names:
            await channel.publish("orders", name, id=name)
        to = Redelivery(dead_letter="orders.dead")
        async with channel.subscribe("orders", group="g", redelivery=to) as orders:
            for _ in names:
                await (await anext(orders)).reject("no")
    layer.story.clear()


async def test_a_letter_is_published_before_it_is_removed() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a", "b")
    async with Channel(layer) as channel:
        result = await channel.dead_letters("orders.dead").replay()
    assert (result.replayed, result.skipped, result.failed) == (2, 0, 0)
    assert layer.story == ["published a to orders", "published b to orders", "removed 2"]


async def test_what_is_refused_stays_and_the_others_go() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a", "b", "c")
    layer.refuses["b"] = LayerError("too large")
    async with Channel(layer) as channel:
        letters = channel.dead_letters("orders.dead")
        result = await letters.replay()
        assert (result.replayed, result.failed) == (2, 1)
        assert [one.id async for one in letters.list()] == ["b"]


async def test_a_letter_from_where_nothing_can_be_published_stays() -> None:
    layer = RecordingLayer()
    async with Channel(layer) as channel:
        await channel.publish("orders.dead", 1, id="a", headers={"acked-topic": "no\ntopic"})
        letters = channel.dead_letters("orders.dead")
        assert repr(letters) == "<DeadLetterTopic 'orders.dead'>"
        result = await letters.replay()
        assert (result.replayed, result.failed) == (0, 1)
    assert layer.story == ["published a to orders.dead"]


async def test_a_letter_that_was_published_and_cannot_be_removed_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer took it meanwhile, for instance: it may come twice."""

    async def remove(_: str, positions: Sequence[str]) -> Sequence[bool]:
        return [False] * len(positions)

    layer = RecordingLayer()
    await with_letters(layer, "a")
    monkeypatch.setattr(layer, "remove", remove)
    async with Channel(layer) as channel:
        result = await channel.dead_letters("orders.dead").replay()
    assert (result.replayed, result.failed) == (0, 1)
    assert layer.story == ["published a to orders"]
    assert "dead letter 'a' was replayed and is still there" in caplog.text


async def test_a_lost_way_ends_it_and_nothing_is_removed() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a")
    layer.refuses["a"] = ConnectionLost("gone")
    async with Channel(layer) as channel:
        letters = channel.dead_letters("orders.dead")
        with pytest.raises(PublishFailed):
            await letters.replay()
        assert await letters.count() == 1
    assert layer.story == []


async def test_what_a_consumer_of_the_letters_holds_is_left_to_it() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a", "b")
    async with Channel(layer) as channel:
        letters = channel.dead_letters("orders.dead")
        async with channel.subscribe("orders.dead", group="reader", in_flight=1) as dead:
            held = await anext(dead)
            assert [one.is_held async for one in letters.list()] == [True, False]
            result = await letters.replay()
            assert (result.replayed, result.skipped) == (1, 1)
            purged = await letters.purge()
            assert (purged.purged, purged.skipped) == (0, 1)
            await held.ack()
        assert await letters.count() == 0


async def test_what_dies_again_meanwhile_is_not_replayed_in_circles() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a", "b")
    to = Redelivery(dead_letter="orders.dead")

    async with (
        Channel(layer) as channel,
        channel.subscribe("orders", group="g", redelivery=to) as orders,
        anyio.create_task_group() as tasks,
    ):

        async def reject() -> None:
            async for delivery in orders:
                await delivery.reject("again")

        tasks.start_soon(reject)
        letters = channel.dead_letters("orders.dead")
        with anyio.fail_after(10):
            assert (await letters.replay(rate=100)).replayed == 2
            while await letters.count() < 2:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_a_limit_a_filter_and_another_topic() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "a", "b", "c", "d")

    def is_late(letter: DeadLetter) -> bool:
        return letter.id > "a"

    async with Channel(layer) as channel:
        letters = channel.dead_letters("orders.dead")
        result = await letters.replay(where=is_late, limit=2, to="orders.again")
        assert (result.replayed, result.skipped) == (2, 1)
        assert layer.story[:2] == ["published b to orders.again", "published c to orders.again"]
        assert [one.id async for one in letters.list(limit=1)] == ["a"]


async def test_what_is_no_whole_letter_is_not_replayed() -> None:
    layer = RecordingLayer()
    async with Channel(layer) as channel:
        await channel.publish("orders.dead", 1, id="by hand")
        cut = {"acked-topic": "orders", "acked-cut": "3 bytes of body", "acked-attempt": "many"}
        await channel.publish("orders.dead", 2, id="cut", headers=cut)
        letters = channel.dead_letters("orders.dead")
        assert (await letters.replay()).skipped == 2
        assert [(one.topic, one.attempt, one.died) async for one in letters.list()] == [
            ("", None, None),
            ("orders", None, None),
        ]
        assert (await letters.replay(to="orders")).replayed == 1


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"rate": 0}, {"to": "orders.dead"}, {"to": "a\nb"}]
)
async def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(ConfigurationError):
            await channel.dead_letters("orders.dead").replay(**options)  # type: ignore[arg-type]


async def test_a_layer_that_cannot_show_refuses_at_the_call() -> None:
    async with Channel(ScriptedLayer()) as channel:
        with pytest.raises(CapabilityError, match="without taking it"):
            channel.dead_letters("orders.dead")


async def test_a_letter_s_repr_has_nothing_of_its_content() -> None:
    layer = RecordingLayer()
    await with_letters(layer, "secret")
    async with Channel(layer) as channel:
        (letter,) = [one async for one in channel.dead_letters("orders.dead").list()]
    assert repr(letter) == "<DeadLetter 'secret' of 'orders', 8 bytes>"
    assert letter.__rich_repr__() == [("id", "secret"), ("topic", "orders"), ("bytes", 8)]
