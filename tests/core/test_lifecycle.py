"""Leaving gives back what is unsettled, in order, within its time, and leaves nothing behind."""

import logging
from collections.abc import Callable

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    Backoff,
    Channel,
    ChannelClosed,
    ConfigurationError,
    ConnectionLost,
    DecodeError,
    LayerError,
    LeaseLost,
    Redelivery,
    Topic,
    VirtualClock,
)
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, leased, prefetch, without

pytestmark = pytest.mark.anyio


async def test_a_break_nacks_what_was_seen_and_releases_what_was_not() -> None:
    layer = ScriptedLayer(*map(leased, range(5)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 5)
        async for delivery in sub:
            if delivery.id == "id-1":
                break
            await delivery.ack()
    assert layer.settled(Verb.ACK) == [0]
    assert layer.settled(Verb.NACK) == [1]
    assert layer.released == [2, 3, 4]
    with pytest.raises(LeaseLost):
        await delivery.ack()


async def test_cancellation_releases_everything_and_charges_no_attempt() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    with anyio.CancelScope() as scope:
        async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
            await prefetch(sub, 3)
            held = await anext(sub)
            scope.cancel()
            await anyio.sleep_forever()
    assert layer.batches == []
    assert sorted(layer.released) == [0, 1, 2]
    assert held.attempt == 1


async def test_a_layer_without_nack_gets_everything_released() -> None:
    layer = ScriptedLayer(leased(1), leased(2), capabilities=without(nack=False))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 2)
        _held = await anext(sub)
    assert sorted(layer.released) == [1, 2]


async def test_leaving_flushes_before_it_releases_and_the_layer_closes_last() -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    with anyio.CancelScope() as scope:
        async with (
            Channel(layer) as channel,
            channel.subscribe("t", group="g", confirm_acks=False) as sub,
        ):
            await prefetch(sub, 3)
            await (await anext(sub)).ack()
            scope.cancel()
            await anyio.sleep_forever()
    assert layer.story == ["opened", "joined", "settle 1", "release", "left", "closed"]


async def test_an_exception_of_the_body_comes_out_as_it_is() -> None:
    layer = ScriptedLayer(leased(1))
    with pytest.raises(ZeroDivisionError):
        async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
            _held = await anext(sub)
            raise ZeroDivisionError
    assert layer.settled(Verb.NACK) == [1]


async def test_the_deadline_of_leaving_holds_although_the_layer_hangs() -> None:
    layer = ScriptedLayer(leased(1), leased(2), leased(3))
    layer.answering = anyio.Event()
    failures: list[Exception] = []

    async def ack(settle: Callable[[], object]) -> None:
        try:
            await settle()  # type: ignore[misc]
        except Exception as error:
            failures.append(error)

    with anyio.fail_after(5):
        async with Channel(layer) as channel, anyio.create_task_group() as tasks:
            async with channel.subscribe("t", group="g", close_timeout=0.05) as sub:
                first, second = await anext(sub), await anext(sub)
                tasks.start_soon(ack, first.ack)
                await wait_all_tasks_blocked()
                tasks.start_soon(ack, second.ack)
                await wait_all_tasks_blocked()
            with pytest.raises(ChannelClosed):
                await anext(sub)  # not the third, which nobody could give back
    assert [type(error).__name__ for error in failures] == ["AckUnconfirmed"] * 2


async def test_cancelling_a_waiting_read_loses_nothing() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        read: list[object] = []

        async def reader() -> None:
            read.append(await anext(sub))

        for number in range(20):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(reader)
                    await wait_all_tasks_blocked()
                    layer.put(leased(number))
                    scope.cancel()
        await wait_all_tasks_blocked()
        kept = sub.statistics().buffered + len(layer.ready) + len(layer.released)
        assert len(read) + kept == 20


async def test_in_flight_is_never_exceeded() -> None:
    layer = ScriptedLayer(*map(leased, range(50)))
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", in_flight=4) as sub,
    ):
        for _ in range(50):
            delivery = await anext(sub)
            statistics = sub.statistics()
            assert statistics.held + statistics.buffered <= 4
            await delivery.ack()


async def test_a_fast_reader_soon_fetches_in_flight_at_a_time() -> None:
    layer = ScriptedLayer(*map(leased, range(1000)))
    async with (
        Channel(layer, clock=VirtualClock()) as channel,  # takes no time at all
        channel.subscribe("t", group="g", in_flight=64) as sub,
    ):
        for _ in range(900):
            await (await anext(sub)).ack()
    assert layer.receives[0] == 1
    assert max(layer.receives) >= 32
    assert len(layer.receives) < 100


async def test_bytes_in_flight_are_bounded() -> None:
    layer = ScriptedLayer(*(leased(n, b"1" * 1000) for n in range(100)))
    topic = Topic("t", int)
    async with (
        Channel(layer) as channel,
        channel.subscribe(topic, group="g", in_flight=64, in_flight_bytes=5000) as sub,
    ):
        for number in range(100):
            delivery = await anext(sub)
            if number > 64:  # after the first fetch it knows how large they are
                assert sub.statistics().open_bytes <= 6000
            await delivery.ack()


async def test_leases_are_renewed_for_everything_held() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        await (await anext(sub)).ack()
        _held = [await anext(sub), await anext(sub)]
        for _ in range(3):
            await wait_all_tasks_blocked()
            clock.advance(10)
        await wait_all_tasks_blocked()
        assert [(sorted(tokens), seconds) for tokens, seconds in layer.extended] == [
            ([1, 2], 30.0)
        ] * 3


async def test_a_lease_found_lost_is_told_at_settlement_and_leaves_the_buffer() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1), leased(2))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        await prefetch(sub, 2)
        held = await anext(sub)
        layer.extension = Outcome.LOST
        await wait_all_tasks_blocked()
        clock.advance(10)
        await wait_all_tasks_blocked()
        with pytest.raises(LeaseLost):
            await held.ack()
        layer.put(leased(3))
        third = await anext(sub)
        assert third.id == "id-3"
        assert sub.statistics().lost == 1  # the other one was nobody's to lose
        assert layer.batches == []


async def test_a_failing_renewal_is_tried_again() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=30) as sub,
    ):
        held = await anext(sub)
        layer.extension = ConnectionLost("gone")
        for _ in range(2):
            await wait_all_tasks_blocked()
            clock.advance(10)
        await wait_all_tasks_blocked()
        layer.extension = Outcome.CONFIRMED
        assert len(layer.extended) == 2
        await held.extend(100)
        assert layer.extended[-1] == ([1], 100)
        await held.ack()
        with pytest.raises(LeaseLost):
            await held.extend(1)


async def test_receiving_goes_on_after_a_lost_connection(caplog) -> None:
    layer = ScriptedLayer(leased(1))
    layer.put(ConnectionLost("broker at nowhere:1 is gone"), leased(2))
    with caplog.at_level(logging.WARNING, "acked"):
        async with (
            Channel(layer) as channel,
            channel.subscribe("t", group="g", reconnect=Backoff(initial=0.001)) as sub,
        ):
            first, second = await anext(sub), await anext(sub)
            assert (first.id, second.id) == ("id-1", "id-2")
    assert "broker at nowhere:1 is gone" in caplog.text


async def test_reconnecting_is_given_up_in_the_reader() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(ConnectionLost("gone"), ConnectionLost("still gone"))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", reconnect_timeout=5) as sub,
    ):

        async def read() -> None:
            with pytest.raises(ConnectionLost, match="still gone"):
                await anext(sub)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await wait_all_tasks_blocked()
            clock.advance(6)
        with pytest.raises(ConnectionLost):
            await anext(sub)


async def test_a_bug_in_a_layer_reaches_the_reader() -> None:
    layer = ScriptedLayer(leased(1), ZeroDivisionError())  # type: ignore[arg-type]
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await (await anext(sub)).ack()
        with pytest.raises(LayerError, match="while receiving: ZeroDivisionError"):
            await anext(sub)


async def test_closing_the_channel_ends_its_readers_with_an_error() -> None:
    layer = ScriptedLayer()
    channel = Channel(layer)
    await channel.__aenter__()
    ended = anyio.Event()

    async def read() -> None:
        async with channel.subscribe("t", group="g") as sub:
            with pytest.raises(ChannelClosed):
                await anext(sub)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await wait_all_tasks_blocked()
        await channel.aclose()
        assert ended.is_set()
        await channel.aclose()
    assert layer.story == ["opened", "joined", "left", "closed"]


async def test_a_channel_opens_again_after_it_was_closed() -> None:
    channel = Channel(ScriptedLayer(leased(1)))
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="open the channel first"):
            await channel.publish("t", 1)
        async with channel:
            assert (await channel.publish("t", 1)).topic == "t"
            with pytest.raises(ConfigurationError):
                await channel.__aenter__()


async def test_a_subscription_is_used_only_while_it_is_entered() -> None:
    layer = ScriptedLayer(leased(1))
    channel = Channel(layer)
    sub = channel.subscribe("t", group="g")
    with pytest.raises(ChannelClosed, match="not open"):
        await anext(sub)
    with pytest.raises(ChannelClosed, match="open the channel first"):
        await sub.__aenter__()
    async with channel:
        sub = channel.subscribe("t", group="g")
        async with sub:
            await (await anext(sub)).ack()
            with pytest.raises(ChannelClosed, match="entered once"):
                await sub.__aenter__()
        with pytest.raises(ChannelClosed, match="was left"):
            await anext(sub)


async def test_an_undecodable_body_raises_and_stays_owed() -> None:
    layer = ScriptedLayer(leased(1, b"secret!"), leased(2))
    async with Channel(layer) as channel, channel.subscribe(Topic("t", int), group="g") as sub:
        with pytest.raises(DecodeError, match="message 'id-1' of topic 't'") as caught:
            await anext(sub)
        assert "secret" not in str(caught.value) + repr(caught.value)
        assert caught.value.raw == b"secret!"
        assert sub.statistics().held == 1
        assert caught.value.delivery is not None
        await caught.value.delivery.reject()
        second = await anext(sub)
        assert second.body == 1
    assert layer.settled(Verb.REJECT) == [1]


async def test_an_undecodable_body_goes_to_the_dead_letters_with_its_raw_bytes() -> None:
    layer = ScriptedLayer(leased(1, b"\xff"), leased(2, b"2"), leased(3, b"\xff"))
    redelivery = Redelivery(dead_letter="t.dead")
    async with (
        Channel(layer) as channel,
        channel.subscribe(Topic("t", int), group="g", redelivery=redelivery) as sub,
    ):
        batch = await anext(sub.batches(3))
        assert [delivery.body for delivery in batch] == [2]
        await batch.ack()
    letters = [s.dead_letter for b in layer.batches for s in b if s.verb is Verb.REJECT]
    assert [letter.body for letter in letters if letter] == [b"\xff", b"\xff"]


async def test_an_undecodable_body_ends_a_batch_before_it() -> None:
    layer = ScriptedLayer(leased(1), leased(2, b"x"), leased(3))
    async with Channel(layer) as channel, channel.subscribe(Topic("t", int), group="g") as sub:
        batches = sub.batches(3)
        await (await anext(batches)).ack()
        with pytest.raises(DecodeError) as caught:
            await anext(batches)
        assert caught.value.delivery is not None
        await caught.value.delivery.ack()
        await (await anext(batches)).ack()
    assert layer.settled(Verb.ACK) == [1, 2, 3]


async def test_past_max_deliveries_a_message_goes_to_the_dead_letters_until_it_is_there() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1, attempt=4), leased(2, attempt=3))
    layer.outcome = Outcome.UNKNOWN
    redelivery = Redelivery(max_deliveries=3, dead_letter="t.dead")
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", redelivery=redelivery, lease=30) as sub,
    ):
        delivery = await anext(sub)
        assert delivery.id == "id-2"
        await wait_all_tasks_blocked()
        assert sub.statistics().dead_lettered == 0
        layer.outcome = Outcome.CONFIRMED
        clock.advance(10)
        await wait_all_tasks_blocked()
        statistics = sub.statistics()
        assert (statistics.dead_lettered, statistics.rejected, statistics.delivered) == (1, 0, 1)
        await delivery.ack()
    assert layer.settled(Verb.REJECT) == [1, 1]
