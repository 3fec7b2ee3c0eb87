"""Publishes that wait at the same time: one request, everybody's own outcome."""

import asyncio
from collections.abc import Callable, Sequence

import anyio
import msgspec
import pytest

from acked import Channel, ChannelClosed, ConnectionLost, LayerError, MessageTooLarge, PublishFailed
from acked._core import publisher
from acked.types import Receipt, Record
from tests.core.scripted import EVERYTHING, ScriptedLayer

pytestmark = pytest.mark.anyio

TOGETHER = msgspec.structs.replace(EVERYTHING, coalesced_publish=True)
Answer = Callable[[Sequence[Record]], None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """On a machine that is busy each request may take its time."""
    monkeypatch.setattr(publisher, "PATIENCE", 60.0)


class Gated(ScriptedLayer):
    """Accepts a request when it is let through; `answer` may raise instead."""

    def __init__(self, answer: Answer = lambda _: None, capabilities=TOGETHER) -> None:
        super().__init__(capabilities=capabilities)
        self.answer = answer
        self.gate = anyio.Semaphore(0)
        self.requests: list[list[int]] = []

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        self.requests.append([int(one.body) for one in records])
        await self.gate.acquire()
        self.answer(records)
        return [Receipt(one.id, one.topic, f"at {one.body.decode()}") for one in records]

    def let_through(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.release()


class Publishing:
    """Publishes in tasks of their own, begun in order; `said` has what each was answered."""

    def __init__(self, channel: Channel[Gated]) -> None:
        self._channel = channel
        self.tasks: list[asyncio.Task[object]] = []

    async def begin(self, *bodies: int | list[int]) -> None:
        for body in bodies:
            many = isinstance(body, list)
            publish = self._channel.publish_many if many else self._channel.publish
            self.tasks.append(asyncio.create_task(publish("t", body)))
        await asyncio.sleep(0)

    async def said(self) -> list[object]:
        with anyio.fail_after(5):
            return await asyncio.gather(*self.tasks, return_exceptions=True)


def positions(receipts: object) -> object:
    if isinstance(receipts, Receipt):
        return receipts.position
    return [one.position for one in receipts] if isinstance(receipts, list) else receipts


async def test_who_publishes_alone_sends_at_once_and_in_its_own_task() -> None:
    async with Channel(layer := Gated()) as channel:
        layer.let_through(3)
        before = asyncio.all_tasks()
        for number in range(3):
            assert (await channel.publish("t", number)).position == f"at {number}"
            assert asyncio.all_tasks() == before
        assert layer.requests == [[0], [1], [2]]


async def test_what_waits_goes_with_the_next_request_in_order_and_each_gets_its_receipts() -> None:
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, [2, 3, 4], 5)
        layer.let_through(2)
        said = await publishing.said()
        assert layer.requests == [[0], [1, 2, 3, 4, 5]]
        assert [*map(positions, said)] == ["at 0", "at 1", ["at 2", "at 3", "at 4"], "at 5"]


async def test_those_who_were_answered_together_publish_together_again() -> None:
    async with Channel(layer := Gated()) as channel, anyio.create_task_group() as tasks:
        layer.let_through(100)

        async def publish_ten(number: int) -> None:
            for _ in range(10):
                await channel.publish("t", number)

        for number in range(5):
            tasks.start_soon(publish_ten, number)
    assert len(layer.requests) <= 12


async def test_a_publisher_that_is_cancelled_while_it_waits_sends_nothing() -> None:
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        publishing.tasks[1].cancel()
        layer.let_through(2)
        await publishing.said()
        assert layer.requests == [[0], [2]]


async def test_a_publisher_that_is_cancelled_on_the_way_takes_nobody_along() -> None:
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        layer.let_through()
        while len(layer.requests) < 2:
            await asyncio.sleep(0)
        publishing.tasks[1].cancel()
        await asyncio.sleep(0)
        assert publishing.tasks[1].cancelled()  # at once
        layer.let_through()
        assert positions((await publishing.said())[2]) == "at 2"
        layer.let_through()
        assert positions(await channel.publish("t", 3)) == "at 3"


async def test_each_is_told_of_its_own_failures_and_neighbours_are_accepted() -> None:
    def refuse_some(records: Sequence[Record]) -> None:
        odd = {i: LayerError(f"no {r.body}") for i, r in enumerate(records) if int(r.body) % 2}
        even = [(i, r) for i, r in enumerate(records) if i not in odd]
        receipts = {i: Receipt(r.id, r.topic, f"at {r.body.decode()}") for i, r in even}
        if odd:
            raise PublishFailed("some", odd, indeterminate=False, receipts=receipts)

    async with Channel(layer := Gated(refuse_some)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 2, [4, 5, 6], [7, 9], 8)
        layer.let_through(2)
        _, two, five, seven_and_nine, eight = await publishing.said()
        assert len(layer.requests) == 2
        assert (positions(two), positions(eight)) == ("at 2", "at 8")
        assert isinstance(five, PublishFailed)
        assert (set(five.failures), five.indeterminate) == ({1}, False)
        assert {i: one.position for i, one in five.receipts.items()} == {0: "at 4", 2: "at 6"}
        assert str(five) == "1 of 3 record(s) were not accepted: no b'5'"
        assert isinstance(seven_and_nine, PublishFailed)
        assert set(seven_and_nine.failures) == {0, 1}


async def test_a_layer_that_tells_no_receipts_of_a_failed_request_has_accepted_the_others() -> None:
    def refuse_one(records: Sequence[Record]) -> None:
        failures = {i: LayerError("no") for i, r in enumerate(records) if r.body == b"1"}
        if failures:
            raise PublishFailed("one", failures, indeterminate=False)

    async with Channel(layer := Gated(refuse_one)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        layer.let_through(2)
        _, one, two = await publishing.said()
        assert isinstance(one, PublishFailed)
        assert isinstance(two, Receipt)
        assert (two.topic, two.position) == ("t", "")


def refused_for_two(records: Sequence[Record]) -> None:
    if any(one.body == b"2" for one in records):
        refusal = LayerError("no twos")
        failures = dict.fromkeys(range(len(records)), refusal)
        raise PublishFailed("none was accepted", failures, indeterminate=False) from refusal


def too_large_for_two(records: Sequence[Record]) -> None:
    if any(one.body == b"2" for one in records):
        raise MessageTooLarge("t", 1, 0)


@pytest.mark.parametrize("answer", [refused_for_two, too_large_for_two])
async def test_nobody_fails_because_a_neighbour_made_the_layer_refuse_all(answer: Answer) -> None:
    async with Channel(layer := Gated(answer)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2, 3)
        layer.let_through(5)
        _, one, two, three = await publishing.said()
        assert (positions(one), positions(three)) == ("at 1", "at 3")
        assert isinstance(two, PublishFailed | MessageTooLarge)
        assert layer.requests == [[0], [1, 2, 3], [1], [2], [3]]


@pytest.mark.parametrize("indeterminate", [True, False])
async def test_what_was_lost_is_not_sent_again(indeterminate) -> None:
    def lost(records: Sequence[Record]) -> None:
        if len(records) > 1:
            failures = dict.fromkeys(range(len(records)), ConnectionLost("gone"))
            raise PublishFailed("all", failures, indeterminate=indeterminate)

    async with Channel(layer := Gated(lost)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        layer.let_through(3)
        said = (await publishing.said())[1:]
        assert layer.requests == [[0], [1, 2]]
        assert [one.indeterminate for one in said] == [indeterminate] * 2
        assert ["may have been accepted" in str(one) for one in said] == [indeterminate] * 2
        assert said[0] is not said[1]


async def test_a_defect_of_the_layer_is_told_to_all_and_ends_nothing() -> None:
    def fail(records: Sequence[Record]) -> None:
        if len(records) > 1:
            raise ZeroDivisionError

    async with Channel(layer := Gated(fail)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        layer.let_through(3)
        for one in (await publishing.said())[1:]:
            assert isinstance(one, PublishFailed)
            assert one.indeterminate
            assert isinstance(one.__cause__, ZeroDivisionError)
        assert positions(await channel.publish("t", 3)) == "at 3"


async def test_closing_tells_those_who_wait_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1)
        layer.let_through()
        while len(layer.requests) < 2:
            await asyncio.sleep(0)
        await publishing.begin(2)
    one, two = (await publishing.said())[1:]
    assert isinstance(one, PublishFailed)
    assert one.indeterminate
    assert isinstance(two, PublishFailed)
    assert not two.indeterminate
    assert asyncio.all_tasks() == before
    with pytest.raises(ChannelClosed):
        await channel.publish("t", 3)
    async with channel:  # and may be opened again
        layer.let_through()
        assert positions(await channel.publish("t", 4)) == "at 4"


async def test_closing_before_the_next_request_has_begun_tells_those_who_wait() -> None:
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1)
        await channel._publisher.aclose()
        assert layer.requests == [[0]]
        layer.let_through()
        zero, one = await publishing.said()
        assert positions(zero) == "at 0"
        assert isinstance(one, PublishFailed)
        assert not one.indeterminate


async def test_closing_amid_single_retries_tells_the_rest() -> None:
    async with Channel(layer := Gated(refused_for_two)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2, 3)
        layer.let_through(2)
        while len(layer.requests) < 3:
            await asyncio.sleep(0)
    said = (await publishing.said())[1:]
    assert [one.indeterminate for one in said if isinstance(one, PublishFailed)] == [
        *(True, False, False)
    ]


async def test_a_request_is_bounded_and_what_is_larger_goes_beside_it(monkeypatch) -> None:
    monkeypatch.setattr(publisher, "MOST_RECORDS", 3)
    monkeypatch.setattr(publisher, "MOST_BYTES", 8)
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2, [3, 4], 12345, 678901, 7, 8, [1, 2, 3, 4], 123456789)
        assert layer.requests == [[0], [1, 2, 3, 4], [123456789]]  # at once
        layer.let_through(20)
        await publishing.said()
        assert layer.requests[3:] == [[1, 2], [3, 4, 12345], [678901, 7, 8]]


async def test_nobody_waits_for_a_request_that_is_late(monkeypatch) -> None:
    monkeypatch.setattr(publisher, "PATIENCE", 0.02)
    async with Channel(layer := Gated()) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        with anyio.fail_after(5):
            while len(layer.requests) < 2:
                await asyncio.sleep(0.01)
        await publishing.begin(3)
        with anyio.fail_after(5):
            while len(layer.requests) < 3:
                await asyncio.sleep(0.01)
        assert layer.requests == [[0], [1, 2], [3]]
        layer.let_through(4)
        await publishing.said()
        assert positions(await channel.publish("t", 4)) == "at 4"


async def test_a_layer_that_did_not_ask_for_it_is_sent_each_by_itself() -> None:
    async with Channel(layer := Gated(capabilities=EVERYTHING)) as channel:
        publishing = Publishing(channel)
        await publishing.begin(0, 1, 2)
        assert layer.requests == [[0], [1], [2]]
        layer.let_through(3)
        await publishing.said()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_each_is_sent_by_itself(anyio_backend) -> None:
    async with Channel(layer := Gated()) as channel, anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(channel.publish, "t", number)
        await anyio.wait_all_tasks_blocked()
        assert sorted(layer.requests) == [[0], [1], [2]]
        layer.let_through(3)
