"""What a handler says where it, the layer or the broker is not what one hopes for."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from acked import (
    Backoff,
    Channel,
    ConfigurationError,
    Delivery,
    Publish,
    Redelivery,
    Release,
    Retry,
    Topic,
)
from acked.errors import LayerError
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, leased, without

pytestmark = pytest.mark.anyio

JOBS = Topic("t", int)
AT_ONCE = Redelivery(backoff=Backoff(initial=0))
Story = list[tuple[str, int]]


async def handled_by(
    layer: ScriptedLayer, handler: Callable[[Any], object], count: int, **options: Any
) -> Story:
    """Run `handler` until `count` messages have got a verb; return what the layer was told."""

    def told() -> Story:
        settled = [(s.verb.name, int(s.token)) for batch in layer.batches for s in batch]
        return settled + [("RELEASE", int(token)) for token in layer.released]

    options.setdefault("redelivery", AT_ONCE)
    with anyio.fail_after(10):
        async with Channel(layer) as channel, anyio.create_task_group() as tasks:

            async def work() -> None:
                await channel.process(JOBS, handler, group="g", **options)

            tasks.start_soon(work)
            while len(told()) < count:
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
    return sorted(told())


async def test_what_the_handler_has_settled_itself_is_settled_once() -> None:
    async def handle(delivery: Delivery[int]) -> None:
        await delivery.reject("mine") if delivery.id == "id-1" else await delivery.ack()

    layer = ScriptedLayer(leased(1), leased(2))
    assert await handled_by(layer, handle, 2) == [("ACK", 2), ("REJECT", 1)]


async def test_a_member_of_a_batch_that_was_lost_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    layer.replies.append([Outcome.CONFIRMED, Outcome.LOST, Outcome.CONFIRMED])

    async def handle(batch: list[int]) -> None:
        if len(batch) == 3:
            layer.put(leased(3))

    assert await handled_by(layer, handle, 4, batch=3) == [("ACK", n) for n in range(4)]
    assert [r.getMessage()[:34] for r in caplog.records if r.name == "acked.worker"] == [
        "1 message(s) could not be settled,"
    ]


async def test_without_release_what_is_given_back_is_nacked() -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(release=False))

    async def handle(_: int) -> None:
        raise Release

    assert await handled_by(layer, handle, 1) == [("NACK", 1)]


async def test_a_released_message_takes_what_waits_for_its_key_along() -> None:
    layer = ScriptedLayer(*map(leased, range(4)))

    async def handle(delivery: Delivery[int]) -> None:
        await anyio.wait_all_tasks_blocked()  # the others of its key wait by now
        raise Release

    told = await handled_by(layer, handle, 4, ordered_by=lambda _: "one key")
    assert told == [("RELEASE", n) for n in range(4)]


async def test_what_waits_for_its_key_is_left_to_the_end_where_nothing_can_be_given_back() -> None:
    layer = ScriptedLayer(leased(1), leased(2), capabilities=without(release=False))
    begun = anyio.Event()

    async def handle(_: int) -> None:
        begun.set()
        await anyio.sleep_forever()

    await interrupted(layer, handle, begun, ordered_by=lambda _: "one key")
    assert (layer.released, layer.batches) == ([], [])


async def test_a_handler_that_fails_because_the_drain_is_over_has_not_failed() -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    begun = anyio.Event()

    async def handle(_: list[int]) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while it was cancelled")

    await interrupted(layer, handle, begun, batch=2)
    assert (sorted(layer.released), layer.batches) == ([1, 2], [])


async def interrupted(
    layer: ScriptedLayer, handler: Callable[[Any], object], begun: anyio.Event, **options: Any
) -> None:
    """Run `handler` until it has begun, and let the drain be over while it is at it."""
    with anyio.fail_after(10):
        async with Channel(layer) as channel, anyio.create_task_group() as tasks:

            async def work() -> None:
                await channel.process(JOBS, handler, group="g", drain=0.05, **options)

            tasks.start_soon(work)
            await begun.wait()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


async def test_a_key_that_cannot_be_one_fails_its_message(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_: int) -> None:
        raise AssertionError("nobody is handed it")

    told = await handled_by(ScriptedLayer(leased(1)), handle, 1, ordered_by=lambda _: [1])
    assert told == [("NACK", 1)]
    assert "ordered_by= returned a list, not hashable" in caplog.text


async def test_an_ack_that_comes_too_late_is_told_and_ends_no_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = ScriptedLayer(leased(1), leased(2))
    layer.replies.append([Outcome.LOST])

    async def handle(_: int) -> None: ...

    told = await handled_by(layer, handle, 2, concurrency=1)
    assert told == [("ACK", 1), ("ACK", 2)]
    assert "1 message(s) could not be settled, and may come again: message 'id-1'" in caplog.text


@pytest.mark.parametrize(
    ("cause", "reason"), [(KeyError("why"), "KeyError: 'why'"), (None, "Retry: after 5 s")]
)
async def test_a_retry_tells_the_dead_letters_its_cause_or_itself(
    cause: Exception | None, reason: str
) -> None:
    layer = ScriptedLayer(leased(1))

    async def handle(_: int) -> None:
        raise Retry(after=5) from cause

    dead = Redelivery(max_deliveries=1, dead_letter="dead")
    assert await handled_by(layer, handle, 1, redelivery=dead) == [("REJECT", 1)]
    letter = layer.batches[0][0].dead_letter
    assert letter is not None
    assert letter.headers["acked-reason"] == reason


async def test_what_has_no_signature_is_given_bodies() -> None:
    class Odd:
        __signature__ = "none"

        def __init__(self) -> None:
            self.given: list[int] = []

        def __call__(self, body: int) -> None:
            self.given.append(body)

    odd = Odd()
    assert await handled_by(ScriptedLayer(leased(1)), odd, 1) == [("ACK", 1)]
    assert odd.given == [1]


async def test_a_member_that_may_not_wait_comes_again_at_once() -> None:
    layer = ScriptedLayer(leased(1), leased(2), capabilities=without(nack_delay=False))

    async def handle(batch: list[int]) -> list[Retry | None]:
        return [Retry(after=60), None]

    assert await handled_by(layer, handle, 2, batch=2) == [("ACK", 2), ("NACK", 1)]


async def test_a_member_whose_nack_is_refused_is_told(caplog: pytest.LogCaptureFixture) -> None:
    layer = ScriptedLayer(leased(1), capabilities=without(nack_delay=False))
    layer.replies.append([LayerError("no rights")])

    async def handle(batch: list[int]) -> list[Retry]:
        return [Retry(after=60)]

    await handled_by(layer, handle, 1, batch=1)
    assert "was refused, and it is still owed: no rights" in caplog.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([None], r"each of its members \(2\): it returned a list"),
        ("yes", r"each of its members \(2\): it returned a str"),
        ([3, None], r"not a int"),
        ([[3], None], r"not a int"),
        (["yes", None], r"not a str"),
    ],
)
async def test_an_answer_that_means_nothing_is_a_failure_that_says_what_is_meant(
    answer: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    layer = ScriptedLayer(leased(1), leased(2))

    async def handle(batch: list[int]) -> object:
        return answer

    told = await handled_by(layer, handle, 2, batch=2)
    assert ("NACK", 1) in told
    (failure, *_) = [r.exc_info[1] for r in caplog.records if r.exc_info]
    assert isinstance(failure, ConfigurationError)
    assert pytest.raises(ConfigurationError, match=words).matches(failure)


async def test_batches_go_on_after_a_body_that_does_not_decode() -> None:
    layer = ScriptedLayer(leased(1, b"no number"), leased(2))

    async def handle(batch: list[int]) -> None:
        return

    assert await handled_by(layer, handle, 2, batch=1) == [("ACK", 2), ("NACK", 1)]


async def test_batches_end_with_what_ended_their_subscription() -> None:
    layer = ScriptedLayer(leased(1))
    layer.put(LayerError("the group is gone"))

    async def handle(batch: list[int]) -> None:
        return

    with anyio.fail_after(10):
        async with Channel(layer) as channel:
            with pytest.raises(LayerError, match="the group is gone"):
                await channel.process(JOBS, handle, group="g", batch=1)
    assert layer.settled(Verb.ACK) == [1]


async def test_an_annotation_nobody_can_evaluate_still_tells_deliveries_from_bodies() -> None:
    given: list[object] = []

    def by_name(delivery: "Delivery[Missing]") -> None:  # noqa: F821
        given.append(delivery)

    def of_bodies(body: "Missing") -> None:  # noqa: F821
        given.append(body)

    await handled_by(ScriptedLayer(leased(1)), by_name, 1)
    await handled_by(ScriptedLayer(leased(1)), of_bodies, 1)
    assert isinstance(given[0], Delivery)
    assert given[1] == 1


async def test_a_builtin_is_given_bodies_and_what_cannot_be_called_is_refused() -> None:
    layer = ScriptedLayer(leased(1))
    assert await handled_by(layer, [].append, 1) == [("ACK", 1)]
    async with Channel(layer) as channel:
        with pytest.raises(ConfigurationError, match="a handler is a function, not int"):
            await channel.process(JOBS, 3, group="g")  # type: ignore[call-overload]


async def test_several_messages_of_one_answer_go_out_in_order_and_before_the_ack() -> None:
    layer = ScriptedLayer(leased(1))

    async def handle(_: int) -> list[Publish[int]]:
        return [Publish("out", number) for number in range(3)]

    await handled_by(layer, handle, 1)
    assert [record.body for record in layer.published] == [b"0", b"1", b"2"]
    assert [record.id for record in layer.published] == [f"id-1/g/{n}" for n in range(3)]
