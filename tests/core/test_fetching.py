"""What is fetched ahead is little, and never for long; what is handed out is ours."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import Channel, ConnectionLost, LeaseLost, SystemClock, Topic, VirtualClock
from acked._core.ack.in_flight import REMEMBERED
from acked._machines.record_size import HEADER_BYTES
from acked.codecs import RAW
from acked.types import Leased, Outcome, Record, Reply, Verb
from tests.core.scripted import ScriptedLayer, leased, prefetch, without

pytestmark = pytest.mark.anyio

LEASE = 30.0


async def test_nothing_is_fetched_before_somebody_reads() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g"):
        await wait_all_tasks_blocked()
        assert layer.receives == []


async def test_a_slow_reader_leaves_the_rest_to_others() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(10)))
    async with Channel(layer, clock=clock) as channel, channel.subscribe("t", group="g") as sub:
        for _ in range(4):
            delivery = await anext(sub)
            clock.advance(0.3)  # the work on it
            await delivery.ack()
        assert sub.statistics().buffered == 0
        assert len(layer.ready) == 6


async def test_readers_that_wait_at_once_are_fetched_for_at_once() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        got: list[str] = []

        async def read() -> None:
            async with await anext(sub) as delivery:
                got.append(delivery.id)

        async with anyio.create_task_group() as tasks:
            for _ in range(32):
                tasks.start_soon(read)
            await wait_all_tasks_blocked()
            layer.put(*map(leased, range(32)))
        assert len(got) == 32
        assert max(layer.receives) >= 16


async def test_what_nobody_reads_is_given_back_after_a_second() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with Channel(layer, clock=clock) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 3)
        held = await anext(sub)
        for _ in range(3):
            await wait_all_tasks_blocked()
            clock.advance(0.5)
        await wait_all_tasks_blocked()
        assert sorted(layer.released) == [1, 2]
        assert sub.statistics().buffered == 0
        await held.ack()
        assert sub.statistics().delivered == sub.statistics().acked == 1


@pytest.mark.parametrize("flags", [{"release": False}, {"lease": "connection"}])
async def test_what_no_other_consumer_could_have_is_kept(flags: dict[str, object]) -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(*map(leased, range(3)), capabilities=without(**flags))
    async with Channel(layer, clock=clock) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 3)
        for _ in range(4):
            await wait_all_tasks_blocked()
            clock.advance(0.5)
        await wait_all_tasks_blocked()
        assert sub.statistics().buffered == 3
        assert layer.released == []
        clock.advance(-1.5)  # or it would be renewed, as far as the clock knows


@pytest.mark.parametrize("many", [False, True], ids=["one", "batch"])
async def test_what_lay_for_longer_than_its_lease_is_renewed_before_it_is_handed_out(
    many: bool,
) -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        await prefetch(sub, 3)
        clock._now += 3 * LEASE  # the machine slept: nobody was woken
        taken = await anext(sub.batches(3)) if many else [await anext(sub)]
        assert layer.extended == [([0, 1, 2], LEASE)]
        for delivery in taken:
            await delivery.ack()


async def test_what_is_another_s_by_then_is_not_handed_out() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        await prefetch(sub, 3)
        clock._now += 3 * LEASE
        replies: list[Reply] = [Outcome.LOST, Outcome.CONFIRMED, Outcome.UNKNOWN]
        layer.replies = [replies]
        delivery = await anext(sub)
        assert delivery.id == "id-1"
        await delivery.ack()
        assert sub.statistics().buffered == 0  # of the third nobody knows
        assert sub.statistics().lost == 0  # and nobody has seen them


async def test_a_layer_that_says_when_it_leased_is_believed() -> None:
    class Late(ScriptedLayer):
        leased_at = 0.0

    clock, layer = VirtualClock(), Late(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        feed = sub._feed
        feed.leased_at = -LEASE - 1  # type: ignore[union-attr]
        delivery = await anext(sub)
        assert layer.extended == [([1], LEASE)]
        await delivery.ack()


async def test_a_virtual_clock_may_be_ahead_of_the_machine() -> None:
    """A layer says by the system's clock when it leased: that is a while ago, not a moment."""

    class Prompt(ScriptedLayer):
        leased_at = 0.0

    clock, layer = VirtualClock(), Prompt(leased(1))
    clock.advance(SystemClock().time() + 10 * LEASE)
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        sub._feed.leased_at = SystemClock().time()  # type: ignore[union-attr]
        delivery = await anext(sub)
        assert layer.extended == []
        await delivery.ack()


async def test_max_lease_gives_the_message_back() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE, max_lease=2 * LEASE) as sub,
    ):
        hangs = await anext(sub)
        for _ in range(8):
            await wait_all_tasks_blocked()
            clock.advance(LEASE / 3)
        await wait_all_tasks_blocked()
        assert [s.token for batch in layer.batches for s in batch] == [1]
        with pytest.raises(LeaseLost):
            await hangs.ack()


@pytest.mark.parametrize("release", [True, False])
async def test_max_lease_charges_nothing_for_what_nobody_has_seen(release: bool) -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(*map(leased, range(3)), capabilities=without(release=release))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=0.6, max_lease=0.1) as sub,
    ):
        await prefetch(sub, 3)
        hangs = await anext(sub)
        for _ in range(3):
            clock.advance(0.2)
            await wait_all_tasks_blocked()
        assert layer.settled(Verb.NACK) == [0]
        assert sorted(layer.released) == ([1, 2] if release else [])
        assert sub.statistics().buffered == 0
        assert (sub.statistics().delivered, sub.statistics().lost) == (1, 1)
        with pytest.raises(LeaseLost):
            await hangs.ack()


async def test_a_renewal_does_not_make_what_nobody_reads_look_new() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=0.6) as sub,
    ):
        await prefetch(sub, 3)
        for _ in range(20):
            clock.advance(0.1)
            await wait_all_tasks_blocked()
        assert layer.extended
        assert sorted(layer.released) == [0, 1, 2]


async def test_one_large_message_does_not_make_every_later_fetch_small() -> None:
    large = Leased(Record("t", b"x" * 4000, "large"), 0, 1, "at-0")
    layer = ScriptedLayer(large, *map(leased, range(1, 500)))
    async with (
        Channel(layer, clock=VirtualClock()) as channel,
        channel.subscribe(
            Topic("t", bytes, codec=RAW), group="g", in_flight=64, in_flight_bytes=5000
        ) as sub,
    ):
        for _ in range(400):
            await (await anext(sub)).ack()
        assert max(layer.receives) >= 32


async def test_what_is_beside_a_body_counts_as_bytes_in_flight() -> None:
    record = Record("t", b"1", "id", "k" * 10, {"name": "x" * 1000}, "text/plain")
    layer = ScriptedLayer(Leased(record, 1, 1, "at-1"))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        assert sub.statistics().open_bytes == 1 + 2 + 10 + 10 + 4 + 1000 + HEADER_BYTES
        await delivery.ack()
        assert sub.statistics().open_bytes == 0


async def test_many_small_headers_fill_what_may_be_in_flight() -> None:
    many = {f"{n}": "" for n in range(100)}
    records = [Record("t", b"1", f"id-{number}", None, many) for number in range(100)]
    layer = ScriptedLayer(*(Leased(one, n, 1, f"at-{n}") for n, one in enumerate(records)))
    most = 10 * 100 * HEADER_BYTES
    async with (
        Channel(layer) as channel,
        channel.subscribe("t", group="g", in_flight_bytes=most) as sub,
    ):
        await (await anext(sub)).ack()  # now it knows how large they are
        await prefetch(sub, 98)
        assert most <= sub.statistics().open_bytes < most * 12 // 10
        assert layer.ready


async def test_the_first_fetch_is_bounded_although_no_size_is_known() -> None:
    layer = ScriptedLayer(*map(leased, range(100)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        await prefetch(sub, 100)
        assert layer.receives[0] == REMEMBERED


async def test_a_loop_that_was_blocked_is_named_by_the_lease_it_lost() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(leased(1))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", lease=LEASE) as sub,
    ):
        delivery = await anext(sub)
        await wait_all_tasks_blocked()
        clock.advance(LEASE / 3 + 41)
        await wait_all_tasks_blocked()
        layer.replies = [[Outcome.LOST]]
        with pytest.raises(LeaseLost, match=r"the event loop was blocked for 41\.0 s"):
            await delivery.ack()


@pytest.mark.parametrize("readers", [1, 100, 1000])
async def test_a_message_wakes_one_reader_however_many_wait(readers: int) -> None:
    layer = ScriptedLayer()
    woken = 0
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        wait = sub._policy.fetcher.wait_for_more

        async def counted(count: int, wanted: int) -> None:
            nonlocal woken
            await wait(count, wanted)
            woken += 1

        sub._policy.fetcher.wait_for_more = counted  # type: ignore[method-assign]

        async def read() -> None:
            async for delivery in sub:
                await delivery.ack()

        async with anyio.create_task_group() as tasks:
            for _ in range(readers):
                tasks.start_soon(read)
            await wait_all_tasks_blocked()
            for number in range(20):
                layer.put(leased(number))
                await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert woken <= 2 * 20


async def test_a_part_that_fails_for_too_long_is_told_though_the_others_go_on() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(3)))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe("t", group="g", reconnect_timeout=60) as sub,
    ):
        sub._feed.failing = ConnectionLost("shard 2 is gone")  # type: ignore[union-attr]
        await (await anext(sub)).ack()
        clock._now += 59
        await (await anext(sub)).ack()
        clock._now += 2
        await (await anext(sub)).ack()
        with pytest.raises(ConnectionLost, match="shard 2"), anyio.fail_after(5):
            await anext(sub)


async def test_what_a_reader_gathers_for_a_batch_is_not_given_back() -> None:
    clock, layer = VirtualClock(), ScriptedLayer(*map(leased, range(2)))
    async with Channel(layer, clock=clock) as channel, channel.subscribe("t", group="g") as sub:
        async with anyio.create_task_group() as tasks:

            async def gather() -> None:
                await (await anext(sub.batches(3, wait=60))).ack()

            tasks.start_soon(gather)
            for _ in range(6):
                await wait_all_tasks_blocked()
                clock.advance(0.5)
            layer.put(leased(2))
        assert layer.released == []
        assert sub.statistics().acked == 3
