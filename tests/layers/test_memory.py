"""The memory layer against its contract, over sinks that a test fills and empties."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from acked.abc import FireAndForgetLayer, LayerFactory
from acked.errors import ConfigurationError, LayerError
from acked.layers.memory import RECORDS_BETWEEN_CHECKPOINTS, MemoryLayer
from acked.types import Gap, GapCause, Record

if TYPE_CHECKING:
    _layer: type[FireAndForgetLayer] = MemoryLayer
    _factory: LayerFactory = MemoryLayer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class ListSink:
    """Takes `room` records without waiting; more room comes from `make_room`."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room
        self.taken: list[str] = []
        self.gaps: list[Gap] = []
        self._changed = anyio.Event()

    def offer(self, record: Record) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(record.id)
        return True

    async def send(self, record: Record) -> None:
        while not self.offer(record):
            await self._changed.wait()

    def make_room(self, more: float = float("inf")) -> None:
        self.room += more
        self._changed.set()
        self._changed = anyio.Event()

    def gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def fail(self, error: LayerError) -> None:
        raise AssertionError("the memory layer never fails")


def records(*ids: str, topic: str = "t") -> Sequence[Record]:
    return [Record(topic, b"\x00\xff", name) for name in ids]


async def test_every_listener_gets_every_record_in_order() -> None:
    one, two = ListSink(), ListSink()
    async with MemoryLayer() as layer, layer.listen(["t"], one), layer.listen(["t"], two):
        await layer.publish(records("a", "b"))
        await layer.publish(records("c"))
    assert one.taken == two.taken == ["a", "b", "c"]


async def test_publishing_to_nobody_is_a_no_op() -> None:
    await MemoryLayer().publish(records("a"))


async def test_an_empty_batch_is_a_no_op() -> None:
    sink = ListSink()
    layer = MemoryLayer()
    async with layer.listen(["t"], sink):
        await layer.publish([])
    assert sink.taken == []


async def test_topics_do_not_mix_even_if_one_is_a_prefix() -> None:
    layer, sink = MemoryLayer(), ListSink()
    async with layer.listen(["t"], sink):
        await layer.publish([*records("a", topic="tt"), *records("b"), *records("c", topic="")])
    assert sink.taken == ["b"]


async def test_one_sink_on_several_topics_gets_each_record_once() -> None:
    layer, sink = MemoryLayer(), ListSink()
    async with layer.listen(["t", "u", "t"], sink):
        await layer.publish([*records("a"), *records("b", topic="u")])
    assert sink.taken == ["a", "b"]


async def test_after_leaving_the_sink_is_not_called_again() -> None:
    layer, sink, other = MemoryLayer(), ListSink(), ListSink()
    async with layer.listen(["t"], other):
        async with layer.listen(["t"], sink):
            await layer.publish(records("a"))
        await layer.publish(records("b"))
    assert sink.taken == ["a"]
    assert other.taken == ["a", "b"]


async def test_leaving_the_last_topic_leaves_the_layer_usable() -> None:
    layer, sink = MemoryLayer(), ListSink()
    for name in "ab":
        async with layer, layer.listen(["t"], sink):
            await layer.publish(records(name))
    assert sink.taken == ["a", "b"]


async def test_subscribing_at_once_from_many_tasks_leaves_nobody_deaf() -> None:
    layer = MemoryLayer()
    sinks = [ListSink() for _ in range(20)]

    async def listen_briefly() -> None:
        async with layer.listen(["t"], ListSink()):
            await checkpoint()

    async def listen(sink: ListSink, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with layer.listen(["t"], sink):
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for sink in sinks:
            tasks.start_soon(listen_briefly)
            await tasks.start(listen, sink)
        await layer.publish(records("a"))
        tasks.cancel_scope.cancel()
    assert [sink.taken for sink in sinks] == [["a"]] * 20


async def test_a_full_sink_delays_no_other_sink() -> None:
    layer, full, free = MemoryLayer(), ListSink(room=0), ListSink()
    async with layer.listen(["t"], full), layer.listen(["t"], free):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(layer.publish, records("a", "b"))
            await wait_all_tasks_blocked()
            assert free.taken == ["a", "b"]
            assert full.taken == []
            full.make_room()
    assert full.taken == ["a", "b"]


async def test_two_full_sinks_do_not_wait_for_each_other() -> None:
    layer, one, two = MemoryLayer(), ListSink(room=0), ListSink(room=0)
    async with layer.listen(["t"], one), layer.listen(["t"], two):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(layer.publish, records("a", "b"))
            await wait_all_tasks_blocked()
            two.make_room()
            await wait_all_tasks_blocked()
            assert two.taken == ["a", "b"]
            one.make_room()
    assert one.taken == ["a", "b"]


async def test_a_full_sink_on_one_topic_does_not_hold_up_publishers_of_another() -> None:
    layer, full, free = MemoryLayer(), ListSink(room=0), ListSink()
    async with layer.listen(["t"], full), layer.listen(["u"], free):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(layer.publish, records("a"))
            await wait_all_tasks_blocked()
            with anyio.fail_after(5):
                await layer.publish(records("b", topic="u"))
            full.make_room()
    assert free.taken == ["b"]


async def test_a_later_record_never_overtakes_one_that_waits() -> None:
    layer, sink = MemoryLayer(), ListSink(room=1)

    async def publish_each(*ids: str) -> None:
        for name in ids:
            await layer.publish(records(name))

    async with layer.listen(["t"], sink):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish_each, "a1", "a2", "a3")
            await wait_all_tasks_blocked()
            tasks.start_soon(publish_each, "b1", "b2", "b3")
            await wait_all_tasks_blocked()
            for _ in range(10):
                sink.make_room(1)
                await wait_all_tasks_blocked()
    for publisher in "ab":
        assert [name for name in sink.taken if name[0] == publisher] == [
            f"{publisher}{n}" for n in (1, 2, 3)
        ]


async def test_waiting_publishers_are_served_first_come_first_served() -> None:
    layer, sink = MemoryLayer(), ListSink(room=0)
    async with layer.listen(["t"], sink):
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                tasks.start_soon(layer.publish, records(name))
                await wait_all_tasks_blocked()
            sink.make_room()
            # There is room now, and yet this one has to queue up.
            await layer.publish(records("c"))
    assert sink.taken == ["a", "b", "c"]


@pytest.mark.parametrize("others", [0, 1], ids=["one full sink", "two full sinks"])
async def test_a_publish_cancelled_while_it_waits_tells_a_gap_and_leaves_the_layer_usable(
    others: int,
) -> None:
    layer, sink, other = MemoryLayer(), ListSink(room=1), ListSink(room=1 - others)
    async with layer.listen(["t"], sink), layer.listen(["t"], other):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(layer.publish, records("a", "b", "c"))
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert sink.taken == ["a"]
        assert sink.gaps == [Gap(2, frozenset({GapCause.OVERFLOW}))]
        sink.make_room()
        other.make_room()
        await layer.publish(records("d"))
    assert sink.taken == ["a", "d"]


async def test_leaving_lets_waiting_publishers_go() -> None:
    layer, sink, free = MemoryLayer(), ListSink(room=0), ListSink()
    async with anyio.create_task_group() as tasks:
        async with layer.listen(["t"], free):
            async with layer.listen(["t"], sink):
                tasks.start_soon(layer.publish, records("a"))
                tasks.start_soon(layer.publish, records("b"))
                await wait_all_tasks_blocked()
            with anyio.fail_after(5):
                await layer.publish(records("c"))
    assert (sink.taken, sink.gaps) == ([], [])
    assert sorted(free.taken) == ["a", "b", "c"]


async def test_leaving_before_the_sending_began_sends_nothing() -> None:
    layer, one, two = MemoryLayer(), ListSink(room=0), ListSink(room=0)
    async with anyio.create_task_group() as tasks:
        async with layer.listen(["t"], one), layer.listen(["t"], two):
            late = layer._offer(records("a"))  # as publish() does, and then leaves the loop a turn
        for listener, waiting in late.items():
            tasks.start_soon(listener.send, waiting)
    assert one.taken == two.taken == []


async def test_a_publisher_in_a_tight_loop_lets_others_run() -> None:
    layer, turns = MemoryLayer(), 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        for _ in range(10 * RECORDS_BETWEEN_CHECKPOINTS):
            await layer.publish(records("a"))
        tasks.cancel_scope.cancel()
    assert turns >= 5


async def test_cancelled_before_the_first_record_nothing_is_published() -> None:
    layer, sink = MemoryLayer(), ListSink()
    batch = records(*map(str, range(RECORDS_BETWEEN_CHECKPOINTS + 1)))
    async with layer.listen(["t"], sink):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await layer.publish(batch)
    assert sink.taken == []


def test_the_url_takes_neither_name_nor_option() -> None:
    assert isinstance(MemoryLayer.from_url("memory://"), MemoryLayer)
    with pytest.raises(ConfigurationError, match="memory-queue://name"):
        MemoryLayer.from_url("memory://shared")
    with pytest.raises(ConfigurationError, match="'size'"):
        MemoryLayer.from_url("memory://?size=1")


async def test_the_repr_tells_who_listens() -> None:
    layer = MemoryLayer()
    assert repr(layer) == "<MemoryLayer, subscriptions: none>"
    async with layer.listen(["t", "u"], ListSink()), layer.listen(["t"], ListSink()):
        assert repr(layer) == "<MemoryLayer, subscriptions: 't' 2, 'u' 1>"


def test_it_promises_nothing_of_debts() -> None:
    layer = MemoryLayer()
    assert isinstance(layer, FireAndForgetLayer)
    assert layer.capabilities.lossy
    assert not layer.capabilities.confirmed_ack
