"""What a handler says of a message is what becomes of it."""

import threading
from collections import Counter

import anyio
import pytest

from acked import (
    Backoff,
    Channel,
    ConfigurationError,
    Delivery,
    Publish,
    Redelivery,
    Reject,
    Release,
    Retry,
    Start,
    Topic,
)
from acked.layers.memory_queue import MemoryQueueLayer
from tests.worker.conftest import MakeLayer
from tests.worker.kit import DEAD_AFTER_THREE, Until, letters, nothing_is_owed

pytestmark = pytest.mark.anyio


async def test_a_handler_that_returns_has_its_message_acked(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(300)
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(300))

        async def handle(number: int) -> None:
            until.saw(number)

        await until.ends(channel.process(jobs, handle, group="g"))
        assert sorted(until.seen) == list(range(300))
        await nothing_is_owed(channel, jobs)


async def test_whatever_it_raises_the_worker_goes_on_and_the_message_comes_again(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(20)
    tries: Counter[int] = Counter()
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(20))

        async def handle(delivery: Delivery[int]) -> None:
            tries[delivery.body] += 1
            assert delivery.attempt == tries[delivery.body]
            if delivery.attempt < 3:
                raise [ValueError, Retry, Exception][delivery.body % 3]
            until.saw(delivery.body)

        redelivery = Redelivery(backoff=Backoff(initial=0.01))
        await until.ends(channel.process(jobs, handle, group="g", redelivery=redelivery))
        assert tries == dict.fromkeys(range(20), 3)
        await nothing_is_owed(channel, jobs)


async def test_the_wait_before_the_next_try_goes_by_the_class_of_the_error(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(2)
    began = anyio.current_time()
    took: dict[int, float] = {}
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, [0, 1])

        async def handle(delivery: Delivery[int]) -> None:
            if delivery.attempt == 1:
                raise (ConnectionRefusedError if delivery.body else KeyError)("x")
            took[delivery.body] = anyio.current_time() - began
            until.saw(delivery.body)

        at_once = Backoff(initial=0)
        later = Backoff(initial=2.0, maximum=2.0, spread=0)
        waits = {OSError: later, LookupError: at_once}
        await until.ends(channel.process(jobs, handle, group="g", retry=waits))
        assert took[0] < 1.9 < 2.0 <= took[1] + 0.01


async def test_at_its_last_chance_it_is_a_dead_letter_that_tells_the_error(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(3)
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, [7, 8, 9])

        async def handle(delivery: Delivery[int]) -> None:
            if delivery.body == 9:
                until.saw(9)
                raise Reject("not ours")
            if delivery.attempt == 3:
                until.saw(delivery.body)
            if delivery.body == 8:
                raise Retry(after=0.0) from KeyError("who")
            raise ValueError("why")

        redelivery = DEAD_AFTER_THREE(jobs)
        await until.ends(channel.process(jobs, handle, group="g", redelivery=redelivery))
        assert await letters(channel, jobs, 3) == {
            7: ("ValueError: why", "3"),
            8: ("KeyError: 'who'", "3"),
            9: ("not ours", "1"),
        }
        await nothing_is_owed(channel, jobs)


async def test_what_ended_beside_it_brings_it_no_nearer_to_the_dead_letters(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(1)
    failures = 0
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 7)
        for _ in range(2):  # two consumers had it in hand and left: charged, and nobody failed
            async with channel.layer.consume(
                [jobs.name], "g", in_flight=1, lease=30.0, start=Start.EARLIEST
            ) as feed:
                await feed.receive(1)

        async def handle(delivery: Delivery[int]) -> None:
            nonlocal failures
            assert delivery.attempt == 3
            if failures < 2:
                failures += 1
                raise ValueError("passing")
            until.saw(delivery.body)

        redelivery = DEAD_AFTER_THREE(jobs)
        await until.ends(channel.process(jobs, handle, group="g", redelivery=redelivery))
        await nothing_is_owed(channel, jobs)


async def test_what_is_released_comes_again_and_no_attempt_is_charged(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(5)
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 1)

        async def handle(delivery: Delivery[int]) -> None:
            assert delivery.attempt == 1
            until.saw(delivery.body)
            if len(until.seen) < 5:
                raise Release

        await until.ends(channel.process(jobs, handle, group="g"))
        await nothing_is_owed(channel, jobs)


async def test_what_it_returns_is_published_before_the_ack(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(2)
    done = Topic(f"{jobs.name}-done", str)
    async with Channel(make_layer()) as channel:
        first = await channel.publish(jobs, 1)
        second = await channel.publish(jobs, 2)

        async def handle(number: int) -> list[Publish[str]] | Publish[str]:
            until.saw(number)
            one = Publish(done, f"{number}", key="k", headers={"a": "b"})
            return one if number == 1 else [one, Publish(done, "more")]

        async with channel.subscribe(done, group="g") as results:
            await until.ends(channel.process(jobs, handle, group="g"))
            found = {}
            with anyio.fail_after(10):
                for _ in range(3):
                    result = await anext(results)
                    found[result.body] = (result.id, result.key, dict(result.headers))
                    await result.ack()
        assert found == {
            "1": (f"{first.id}/g/0", "k", {"a": "b"}),
            "2": (f"{second.id}/g/0", "k", {"a": "b"}),
            "more": (f"{second.id}/g/1", None, {}),
        }
        await nothing_is_owed(channel, jobs)


async def test_what_cannot_be_published_leaves_the_message_unacked(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(2)
    answers = iter([Publish("x", object()), "a word", None])
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 1)

        async def handle(delivery: Delivery[int]) -> None:
            if delivery.attempt > 1:
                until.saw(delivery.attempt)
            return next(answers)  # type: ignore[return-value]

        redelivery = Redelivery(backoff=Backoff(initial=0))
        await until.ends(channel.process(jobs, handle, group="g", redelivery=redelivery))
        assert until.seen == [2, 3]
        await nothing_is_owed(channel, jobs)


async def test_a_plain_function_runs_in_a_thread_beside_others(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(4)
    together = threading.Barrier(4, timeout=10)
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(4))

        def handle(number: int) -> None:
            assert threading.current_thread() is not threading.main_thread()
            together.wait()
            until.saw_in_thread(number)

        await until.ends(channel.process(jobs, handle, group="g", concurrency=4))
        assert sorted(until.seen) == [0, 1, 2, 3]
        await nothing_is_owed(channel, jobs)


async def test_a_handler_that_takes_too_long_is_cancelled_and_has_failed(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(1)
    ends: list[str] = []
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs, 1)

        async def handle(delivery: Delivery[int]) -> None:
            if delivery.attempt == 2:
                return until.saw(delivery.body)
            try:
                await anyio.sleep_forever()
            finally:
                ends.append("cancelled")

        redelivery = Redelivery(backoff=Backoff(initial=0))
        working = channel.process(jobs, handle, group="g", timeout=0.1, redelivery=redelivery)
        await until.ends(working)
        assert ends == ["cancelled"]
        await nothing_is_owed(channel, jobs)


async def test_never_more_handlers_run_than_may_and_as_many_do(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(60)
    running = most = 0
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(60))

        async def handle(number: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.sleep(0.01)
            running -= 1
            until.saw(number)

        await until.ends(channel.process(jobs, handle, group="g", concurrency=7))
        assert most == 7


async def test_one_key_is_handled_in_order_and_one_at_a_time_also_after_failures(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    keys, each = 10, 12
    until = Until(keys * each)
    running: set[int] = set()
    story: dict[int, list[int]] = {key: [] for key in range(keys)}
    failed: set[int] = set()
    overlapping = 0
    async with Channel(make_layer()) as channel:
        for number in range(keys * each):
            await channel.publish(jobs, number, key=f"k{number % keys}")

        async def handle(delivery: Delivery[int]) -> None:
            nonlocal overlapping
            key = delivery.body % keys
            assert key not in running
            running.add(key)
            overlapping = max(overlapping, len(running))
            await anyio.sleep(0.001)
            running.discard(key)
            if delivery.body % 7 == 0 and delivery.body not in failed:
                failed.add(delivery.body)
                raise ValueError
            story[key].append(delivery.body)
            assert delivery.attempt == 1 + (delivery.body % 7 == 0)
            until.saw(delivery.body)

        soon = Redelivery(backoff=Backoff(initial=0.02))
        await until.ends(
            channel.process(jobs, handle, group="g", ordered_by="key", redelivery=soon)
        )
        assert story == {key: list(range(key, keys * each, keys)) for key in range(keys)}
        assert overlapping > 1
        await nothing_is_owed(channel, jobs)


async def test_a_key_can_be_computed_and_one_that_cannot_be_fails_its_message_alone(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(9)
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(10))

        def parity(delivery: Delivery[int]) -> object:
            return 1 // delivery.body and delivery.body % 2

        async def handle(number: int) -> None:
            until.saw(number)

        await until.ends(
            channel.process(
                jobs, handle, group="g", ordered_by=parity, redelivery=DEAD_AFTER_THREE(jobs)
            )
        )
        assert [n for n in until.seen if n % 2] == [1, 3, 5, 7, 9]


async def test_the_members_of_a_batch_are_settled_together_or_each_by_its_answer(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(14)
    batches: list[list[int]] = []
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(12))

        async def handle(batch: list[Delivery[int]]) -> list[Retry | Reject | None] | None:
            batches.append([one.body for one in batch])
            for one in batch:
                until.saw(one.body)
            if batch[0].attempt > 1 or 0 not in batches[-1]:
                return None
            return [Retry(after=0), Reject("no"), Retry(after=0), *[None] * (len(batch) - 3)]

        redelivery = DEAD_AFTER_THREE(jobs)
        await until.ends(
            channel.process(jobs, handle, group="g", batch=5, wait=0.2, redelivery=redelivery)
        )
        assert max(map(len, batches)) == 5
        assert Counter(until.seen) == Counter([*range(12), 0, 2])
        assert await letters(channel, jobs, 1) == {1: ("no", "1")}
        await nothing_is_owed(channel, jobs)


async def test_a_batch_that_fails_comes_again_as_a_whole(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(6)
    failures = iter([ValueError, None, None])
    async with Channel(make_layer()) as channel:
        await channel.publish_many(jobs, range(6))

        async def handle(batch: list[int]) -> list[None] | None:
            if failure := next(failures, None):
                raise failure
            for body in batch:
                until.saw(body)
            return None

        redelivery = Redelivery(backoff=Backoff(initial=0))
        await until.ends(channel.process(jobs, handle, group="g", batch=6, redelivery=redelivery))
        assert sorted(until.seen) == list(range(6))
        await nothing_is_owed(channel, jobs)


async def test_a_body_that_does_not_decode_ends_no_worker(
    make_layer: MakeLayer, jobs: Topic[int]
) -> None:
    until = Until(1)
    async with Channel(make_layer()) as channel:
        await channel.publish(jobs.name, "no number")
        await channel.publish(jobs, 2)

        async def handle(number: int) -> None:
            until.saw(number)

        await until.ends(channel.process(jobs, handle, group="g"))
        assert until.seen == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"drain": -1}, "drain=-1"),
        ({"timeout": 0}, "timeout=0"),
        ({"batch": 0}, "batch=0"),
        ({"wait": 1}, "give batch="),
        ({"ordered_by": "id"}, "ordered_by='id'"),
        ({"ordered_by": "key", "batch": 2}, "single messages"),
        ({"in_flight": 8}, "fewer than the 32"),
        ({"retry": {int: Backoff()}}, "retry="),
        ({"lease": 0}, "lease=0"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_at_the_call(
    options: dict[str, object], words: str
) -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(ConfigurationError, match=words):
            await channel.process("jobs", print, group="g", **options)  # type: ignore[call-overload]
        with pytest.raises(ConfigurationError, match="called with one argument"):
            await channel.process("jobs", lambda: None, group="g")  # type: ignore[call-overload]
