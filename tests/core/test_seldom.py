"""What happens seldom, and must be right all the same: slept leases, late readers, full memories."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import anyio
import msgspec
import pytest
from anyio import wait_all_tasks_blocked

import acked._core.publishing
import acked._core.stream.adapter
from acked import (
    CapabilityError,
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    EncodeError,
    LayerError,
    Message,
    NoSubscribers,
    PublishFailed,
    Redelivery,
    Topic,
    VirtualClock,
    fire_and_forget,
)
from acked._core.pending_error import PendingError
from acked.abc import AckFeed
from acked.codecs import JSON
from acked.types import Outcome, Record, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, leased, prefetch, without

pytestmark = pytest.mark.anyio

LEASE = 30.0
T = Topic("t", int)


async def test_a_reader_with_a_turn_left_gets_nothing_whose_lease_has_ended() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        await prefetch(sub, 3)
        await (await anext(sub)).ack()
        clock._now += 3 * LEASE  # the machine slept: nobody was woken
        second = await anext(sub)
        assert layer.extended == [([1, 2], LEASE)]
        await second.ack()


async def test_a_batch_ends_before_what_has_a_lease_that_ended() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        await prefetch(sub, 1)
        sub._feed.leased_at = -LEASE - 1  # type: ignore[union-attr]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, sub.batches(3, wait=60))
            await wait_all_tasks_blocked()
            layer.put(leased(2))
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        batches = sub.batches(2)
        first = await anext(batches)
        assert [one.id for one in first] == ["id-1"]
        assert layer.extended == []
        second = await anext(batches)
        assert [one.id for one in second] == ["id-2"]
        assert layer.extended == [([2], LEASE)]
        await first.ack()
        await second.ack()


async def test_where_leases_cannot_be_extended_what_slept_is_another_s() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1), capabilities=without(extend=False))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        await prefetch(sub, 1)
        clock._now += 3 * LEASE
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                async with await anext(sub) as delivery:
                    assert delivery.id == "id-2"

            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            layer.put(leased(2))
        assert layer.extended == []
        assert layer.settled(Verb.ACK) == [2]


async def test_a_reader_of_single_messages_goes_on_after_one_that_went_to_the_dead_letters() -> (
    None
):
    layer = ScriptedLayer(leased(1, b"no number"), leased(2, b"2"))
    redelivery = Redelivery(dead_letter="dead")
    async with (
        Channel(layer) as channel,
        channel.subscribe(T, group="g", redelivery=redelivery) as sub,
    ):
        async with await anext(sub) as delivery:
            assert delivery.body == 2
        assert layer.settled(Verb.REJECT) == [1]


async def test_a_dead_letter_on_its_way_is_not_sent_a_second_time() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(leased(1))
    redelivery = Redelivery(dead_letter="dead")
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE, redelivery=redelivery) as sub,
        anyio.create_task_group() as tasks,
    ):
        layer.answering = anyio.Event()
        tasks.start_soon((await anext(sub)).reject, "why")
        for _ in range(4):
            await wait_all_tasks_blocked()
            clock.advance(LEASE / 3)
        await wait_all_tasks_blocked()
        layer.answering.set()
    assert layer.settled(Verb.REJECT) == [1]


async def test_a_batch_that_cannot_become_full_any_more_is_handed_out_at_once() -> None:
    layer = ScriptedLayer(leased(1), leased(2), LayerError("the broker is of another kind"))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        batches = sub.batches(5, wait=3600)
        with anyio.fail_after(20):
            batch = await anext(batches)
            assert [one.id for one in batch] == ["id-1", "id-2"]
            await batch.ack()
            with pytest.raises(LayerError, match="of another kind"):
                await anext(batches)


async def test_without_a_reconnect_timeout_a_connection_may_be_lost_for_ever() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(ConnectionLost("gone"))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", reconnect_timeout=None) as sub,
        anyio.create_task_group() as tasks,
    ):
        got: list[str] = []

        async def read() -> None:
            async with await anext(sub) as delivery:
                got.append(delivery.id)

        tasks.start_soon(read)
        for _ in range(3):
            await wait_all_tasks_blocked()
            layer.put(ConnectionLost("gone"))
            clock.advance(1e6)
        layer.put(leased(1))
        while not got:
            await wait_all_tasks_blocked()
            clock.advance(10)
    assert got == ["id-1"]


async def test_a_channel_closes_while_a_subscription_cannot_be_opened() -> None:
    class Slow(ScriptedLayer):
        begun: anyio.Event
        going: anyio.Event

        @asynccontextmanager
        async def consume(self, *topics: Any, **options: Any) -> AsyncIterator[AckFeed]:
            self.begun.set()
            with anyio.CancelScope(shield=True):
                await self.going.wait()
            async with super().consume(*topics, **options) as feed:
                yield feed

    layer = Slow()
    layer.begun, layer.going = anyio.Event(), anyio.Event()
    raised: list[BaseException] = []
    channel = Channel(layer, close_timeout=0.05)
    await channel.__aenter__()

    async def join() -> None:
        with pytest.raises(ChannelClosed, match="was closed while") as caught:
            await channel.subscribe("t", group="g").__aenter__()
        raised.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        await layer.begun.wait()
        await channel.aclose()
        layer.going.set()
    assert len(raised) == 1
    assert layer.batches == []


async def test_a_group_is_removed_only_where_the_layer_can() -> None:
    async with Channel(ScriptedLayer()) as channel:
        with pytest.raises(CapabilityError, match="cannot remove a group"):
            await channel.remove_group("t", group="g")


async def test_a_refused_publish_reaches_its_caller_as_the_layer_said_it() -> None:
    refusal = PublishFailed("1 of 1", {0: LayerError("full")}, indeterminate=False)

    class Refusing(ScriptedLayer):
        async def publish(self, records: Sequence[Record]) -> Any:
            raise refusal

    async with Channel(Refusing()) as channel:
        with pytest.raises(PublishFailed) as caught:
            await channel.publish("t", 1)
    assert caught.value is refusal
    news = fire_and_forget(Refusing())
    async with Channel(news) as channel:
        with pytest.raises(PublishFailed) as caught:
            await channel.publish("t", 1)
    assert caught.value is refusal


@pytest.fixture
def few_topics(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(acked._core.publishing, "MAX_TOPICS_REMEMBERED", 3)
    return 3


async def test_a_publisher_to_many_topics_remembers_few_of_them(few_topics: int) -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        for number in range(10):
            await channel.publish(Topic(f"t-{number}", int), number)
            assert len(channel._encoders._encodings) <= few_topics
    assert [record.body for record in layer.published] == [b"%d" % n for n in range(10)]


async def test_a_reader_by_pattern_remembers_few_topics_and_reads_all(few_topics: int) -> None:
    decoding = acked._core.publishing.pattern_decoders((Topic("t-*", int),), JSON)
    for number in range(10):
        assert decoding[f"t-{number}"](b"%d" % number) == number
        assert len(decoding) <= few_topics
    with pytest.raises(LookupError, match="delivered topic 'other', which no pattern matches"):
        decoding["other"](b"1")


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None: ...


class Anything:
    """A codec of a user's own, which would write whatever it is given."""

    content_type = "application/octet-stream"

    def encoder(self, payload: Any) -> Callable[[Any], bytes]:
        return repr

    def decoder(self, payload: Any) -> Callable[[bytes], Any]:
        return bytes


async def test_a_body_without_what_a_protocol_asks_for_is_refused() -> None:
    layer = ScriptedLayer()
    async with Channel(layer, verify_bodies=False) as channel:
        with pytest.raises(EncodeError, match="carries Closable, not int; nothing was sent"):
            await channel.publish(Topic("t", Closable, codec=Anything()), 1)
    assert layer.published == []


class NeverEqual(msgspec.Struct, eq=False):
    number: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


async def test_a_body_that_cannot_be_compared_is_compared_by_its_values() -> None:
    layer = ScriptedLayer()
    async with Channel(layer, verify_bodies=True) as channel:
        await channel.publish(Topic("t", NeverEqual), NeverEqual(7))
    assert [record.body for record in layer.published] == [b'{"number":7}']


async def test_news_are_read_within_their_subscription_only() -> None:
    async with Channel(ScriptedNews()) as channel:
        sub = channel.subscribe("t")
        with pytest.raises(ChannelClosed, match="not open; use it within"):
            await anext(sub)


@pytest.mark.parametrize("way", ["batches", "gaps", "batches with gaps"])
async def test_a_reader_is_not_woken_for_good_by_what_does_not_decode(way: str) -> None:
    layer, got = ScriptedNews(), list[object]()
    async with (
        Channel(layer) as channel,
        channel.subscribe(T) as sub,
        anyio.create_task_group() as tasks,
    ):

        async def read() -> None:
            if way == "gaps":
                got.append(await anext(sub.with_gaps()))
            else:
                reader = sub.batches(1) if way == "batches" else sub.with_gaps().batches(1)
                got.extend(await anext(reader))

        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        layer.sinks[0].offer(Record("t", b"no number", "id-0"))
        await wait_all_tasks_blocked()
        assert got == []
        layer.sinks[0].offer(Record("t", b"1", "id-1"))
    (message,) = got
    assert isinstance(message, Message)
    assert message.body == 1
    assert sub.statistics().undecodable == 1


async def test_a_batch_of_news_that_cannot_become_full_is_handed_out_at_once() -> None:
    layer = ScriptedNews()
    async with Channel(layer) as channel, channel.subscribe(T) as sub:
        batches = sub.batches(5, wait=3600)
        layer.sinks[0].offer(Record("t", b"1", "id-1"))
        layer.sinks[0].fail(LayerError("the broker is of another kind"))
        with anyio.fail_after(20):
            assert [message.body for message in await anext(batches)] == [1]
            with pytest.raises(LayerError, match="of another kind"):
                await anext(batches)


async def test_news_that_nobody_is_subscribed_to_are_published_all_the_same() -> None:
    class Nobody(ScriptedLayer):
        async def publish(self, records: Sequence[Record]) -> Any:
            await super().publish(records)
            why = NoSubscribers("nobody is subscribed")
            raise PublishFailed("1 of 1", {0: why}, indeterminate=False)

    layer = Nobody()
    async with Channel(fire_and_forget(layer)) as channel:
        await channel.publish("t", 1)
    assert [record.body for record in layer.published] == [b"1"]


class Removing(ScriptedLayer):
    """Refuses to forget a group, or never answers."""

    def __init__(self, refusal: LayerError | None) -> None:
        super().__init__(capabilities=without(remove_group=True))
        self._refusal = refusal

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        if self._refusal is not None:
            raise self._refusal
        await anyio.sleep_forever()


@pytest.mark.parametrize("refusal", [LayerError("busy"), None], ids=["refused", "silent"])
async def test_a_group_that_a_listener_cannot_remove_is_named_in_the_log(
    refusal: LayerError | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acked._core.stream.adapter, "LEAVING", 0.05)
    with caplog.at_level(logging.WARNING):
        async with Channel(fire_and_forget(Removing(refusal))) as channel, channel.subscribe("t"):
            pass
    (words,) = [one.getMessage() for one in caplog.records if "stays behind" in one.getMessage()]
    assert words.startswith("group acked-news-")
    assert words.endswith("busy" if refusal else "no answer")


async def test_of_news_whose_acks_nobody_answered_only_the_last_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acked._core.stream.adapter, "MOST_UNSURE", 2)
    layer = ScriptedLayer(*(leased(number, b"%d" % number) for number in range(4)))
    layer.outcome = Outcome.UNKNOWN
    async with Channel(fire_and_forget(layer)) as channel, channel.subscribe(T) as sub:
        assert [(await anext(sub)).body for _ in range(4)] == [0, 1, 2, 3]
        layer.put(leased(3, b"3"), leased(0, b"0"))  # both again; the older one is forgotten
        assert (await anext(sub)).body == 0


async def test_a_layer_without_check_has_none_for_news_either() -> None:
    async with Channel(fire_and_forget(ScriptedLayer())) as channel:
        with pytest.raises(CapabilityError, match=r"ScriptedLayer has no check\(\)"):
            await channel.check()


async def test_a_layer_is_not_opened_a_second_time_in_another_thread() -> None:
    layer = ScriptedLayer()

    async def elsewhere() -> None:
        async with Channel(layer):
            pass

    async with Channel(layer):
        with pytest.raises(ConfigurationError, match="opened in another thread"):
            await anyio.to_thread.run_sync(asyncio.run, elsewhere())
    assert layer.story == ["opened", "closed"]


def test_each_error_that_nobody_waited_for_is_counted_once() -> None:
    pending, first, second = PendingError(), LayerError("1"), LayerError("2")
    pending.note(first, 3)
    assert pending.take() is first
    assert first.__notes__ == ["and 2 more since the last read: see statistics()"]
    pending.note(second, 1)
    assert pending.take() is second
    assert not hasattr(second, "__notes__")
    assert pending.take() is None
