"""The memory queue against its contract: keeping, settling, names."""

import gc
import uuid
import weakref
from typing import TYPE_CHECKING

import pytest

from acked.abc import AckLayer, LayerFactory
from acked.clocks import SystemClock
from acked.errors import ConfigurationError, PublishFailed
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Record, Start, Verb
from tests.layers.queue_bench import (
    CONFIRMED,
    Bench,
    ids,
    nothing,
    one,
    settle,
)

if TYPE_CHECKING:
    _layer: type[AckLayer] = MemoryQueueLayer
    _factory: LayerFactory = MemoryQueueLayer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestKeeping:
    async def test_what_was_published_before_the_first_group_is_delivered(self) -> None:
        bench = Bench()
        await bench.publish("a", "b")
        async with bench.feed() as feed:
            assert await ids(feed) == ["a", "b"]

    async def test_each_group_gets_every_record_and_settles_for_itself(self) -> None:
        bench = Bench()
        async with bench.feed(group="g") as feed, bench.feed(group="gg") as other:
            await bench.publish("a")
            assert await settle(feed, Verb.ACK, await one(feed)) == [CONFIRMED]
            assert await ids(other) == ["a"]
            assert await nothing(feed)

    async def test_a_record_is_kept_until_the_last_group_has_settled_it(self) -> None:
        bench = Bench()
        async with bench.feed(group="g") as feed, bench.feed(group="h") as other:
            await bench.publish("a")
            await settle(feed, Verb.ACK, await one(feed))
            assert "keeps 1 for" in repr(bench.layer)
            await settle(other, Verb.REJECT, await one(other))
            assert "keeps 0 for" in repr(bench.layer)

    async def test_consumers_of_one_group_share_one_copy(self) -> None:
        bench = Bench()
        async with bench.feed() as feed, bench.feed() as other:
            await bench.publish("a", "b")
            assert await ids(feed, 1) == ["a"]
            assert await ids(other) == ["b"]
            assert await nothing(feed)

    async def test_a_group_and_its_records_outlive_its_consumers_and_the_context(self) -> None:
        bench = Bench()
        async with bench.layer, bench.feed():
            pass
        await bench.publish("a")
        async with bench.layer, bench.feed(start=Start.LATEST) as feed:
            assert await ids(feed) == ["a"]

    async def test_a_new_group_starts_where_it_was_told(self) -> None:
        bench = Bench()
        for time, name in enumerate("abc"):
            await bench.publish(name, time=time)
        async with (
            bench.feed(group="all") as everything,
            bench.feed(group="late", start=Start.LATEST) as latest,
            bench.feed(group="from", start=Start.at(1)) as later,
        ):
            await bench.publish("d", time=3)
            assert await ids(everything) == ["a", "b", "c", "d"]
            assert await ids(latest) == ["d"]
            assert await ids(later) == ["b", "c", "d"]

    async def test_a_latest_group_does_not_throw_away_what_nobody_had_a_chance_to_see(self) -> None:
        bench = Bench()
        await bench.publish("a")
        async with bench.feed(group="monitor", start=Start.LATEST) as monitor:
            await bench.publish("b")
            await settle(monitor, Verb.ACK, await one(monitor))
        async with bench.feed(group="billing") as billing:
            assert await ids(billing) == ["a"]

    async def test_a_topic_named_twice_is_one_topic(self) -> None:
        bench = Bench()
        async with bench.feed("t", "t") as feed:
            await bench.publish("a")
            assert await ids(feed) == ["a"]
            assert await nothing(feed)

    async def test_a_full_topic_refuses_and_says_which_records_and_what_to_do(self) -> None:
        bench = Bench(max_backlog=2)
        batch = [Record(topic, b"", topic) for topic in "tutt"]
        with pytest.raises(PublishFailed, match=r"1 of 4.*'t' keeps 2.*max_backlog") as failed:
            await bench.layer.publish(batch)
        assert list(failed.value.failures) == [3]
        assert not failed.value.indeterminate
        async with bench.feed("t", "u") as feed:
            held = await feed.receive(10)
            assert sorted(leased.record.id for leased in held) == ["t", "t", "u"]
            await settle(feed, Verb.ACK, *held)
            await bench.publish("again")
            assert await ids(feed) == ["again"]

    async def test_a_receipt_tells_the_position_that_the_delivery_has(self) -> None:
        bench = Bench()
        receipts = await bench.layer.publish([Record("t", b"", "a"), Record("t", b"", "b")])
        async with bench.feed() as feed:
            held = await feed.receive(2)
        assert [(r.id, r.topic, r.position) for r in receipts] == [("a", "t", "1"), ("b", "t", "2")]
        assert [leased.position for leased in held] == ["1", "2"]
        assert await bench.layer.publish([]) == []

    async def test_the_layer_object_goes_with_all_it_kept(self) -> None:
        bench = Bench()
        async with bench.feed() as feed:
            await bench.publish(*map(str, range(500)))
            await settle(feed, Verb.ACK, *await feed.receive(200))
            await feed.receive(100)
        gone = weakref.ref(bench.layer._broker.topics["t"])
        del bench, feed
        gc.collect()
        assert gone() is None


class TestNames:
    async def test_layers_of_one_name_share_everything(self) -> None:
        url = f"memory-queue://{uuid.uuid4()}"
        one_, other = MemoryQueueLayer.from_url(url), MemoryQueueLayer.from_url(url)
        await one_.publish([Record("t", b"", "a")])
        async with other.consume(["t"], "g", in_flight=1, lease=1, start=Start.EARLIEST) as feed:
            assert await ids(feed) == ["a"]

    @pytest.mark.parametrize("url", ["memory-queue://", "memory-queue://another"])
    async def test_layers_of_no_name_or_another_share_nothing(self, url: str) -> None:
        one_, other = MemoryQueueLayer.from_url("memory-queue://"), MemoryQueueLayer.from_url(url)
        await one_.publish([Record("t", b"", "a")])
        assert repr(other) == "<MemoryQueueLayer: no topics>"

    def test_a_backlog_that_contradicts_the_first_is_refused(self) -> None:
        url = f"memory-queue://{uuid.uuid4()}"
        MemoryQueueLayer.from_url(f"{url}?max_backlog=5")
        MemoryQueueLayer.from_url(f"{url}?max_backlog=5")
        MemoryQueueLayer.from_url(url)
        with pytest.raises(ConfigurationError, match="max_backlog=5"):
            MemoryQueueLayer.from_url(f"{url}?max_backlog=none")

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("memory-queue://?max_backlog=many", "'many'"),
            ("memory-queue://?max_backlog=0", "1 or more"),
            ("memory-queue://?backlog=1", "'backlog'"),
            ("memory-queue://name/path", "path"),
        ],
    )
    def test_a_malformed_url_is_refused_by_name(self, url: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            MemoryQueueLayer.from_url(url)

    async def test_the_repr_tells_what_every_group_owes(self) -> None:
        bench = Bench()
        assert repr(bench.layer) == "<MemoryQueueLayer: no topics>"
        await bench.publish("x", topic="dead")
        async with bench.feed() as feed:
            await bench.publish("a", "b", "c", "d")
            await settle(feed, Verb.NACK, await one(feed), delay=1.0)
            await one(feed)
            assert repr(bench.layer) == (
                "<MemoryQueueLayer: 'dead' keeps 1 for no group yet; "
                "'t' keeps 4 for g (2 ready, 1 delayed, 1 held)>"
            )
            assert repr(feed) == "<feed of 1 topics, 1 held>"

    def test_what_it_declares_is_what_the_reference_must_have(self) -> None:
        declared = MemoryQueueLayer(clock=SystemClock()).capabilities
        off = {name for name in declared.__struct_fields__ if not getattr(declared, name)}
        # Nothing is on its way to another process, so nothing waits to go together.
        off -= {"coalesced_publish"}
        assert off == {"persistent", "patterns", "lossy", "max_payload", "topic_pattern"}
        assert (declared.order, declared.lease) == ("total", "timer")
