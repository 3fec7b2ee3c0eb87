"""Laws C: acknowledgement. Each test is a claim; its docstring has the law's id and the reason."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    AlreadySettled,
    Channel,
    Delivery,
    LeaseLost,
    Redelivery,
    Start,
    Subscription,
)
from acked.abc import AckLayer
from tests.laws.harness import Harness, channel_of, fresh

SOON = 10.0
"""Seconds that bound a wait for something that must happen; far below the long lease."""
LONG = 60.0
"""A lease that does not end while a test runs."""


async def receive(
    subscription: Subscription[Delivery[object]], count: int
) -> list[Delivery[object]]:
    with anyio.fail_after(SOON):
        return [await anext(subscription) for _ in range(count)]


async def ack_all(deliveries: Sequence[Delivery[object]]) -> None:
    for delivery in deliveries:
        await delivery.ack()


def bodies(deliveries: Sequence[Delivery[object]]) -> list[object]:
    return sorted(delivery.body for delivery in deliveries)  # type: ignore[type-var]


async def nothing_but_a_sentinel_comes(
    channel: Channel[AckLayer], topic: str, group: str, lease: float = LONG
) -> None:
    """Publish a sentinel and see it come first: whatever is owed would have come before it."""
    await channel.publish(topic, "sentinel")
    async with channel.subscribe(topic, group=group, lease=lease) as sub:
        (first,) = await receive(sub, 1)
        assert first.body == "sentinel"
        await first.ack()
        assert sub.statistics().buffered == 0


class AcknowledgementLaws:
    """What acking, nacking, rejecting and leaving mean."""

    async def test_an_acked_message_never_comes_again(self, harness: Harness) -> None:
        """C1: not on the next read, not to a new consumer, not after leases, not after reopening."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(10))
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                deliveries = await receive(sub, 10)
                await ack_all([d for d in deliveries if d.body % 2])  # type: ignore[operator]
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                deliveries = await receive(sub, 5)
                assert bodies(deliveries) == [0, 2, 4, 6, 8]
                await ack_all(deliveries)
                await harness.pass_time(harness.lease * 2)
        async with channel_of(harness) as channel:
            await nothing_but_a_sentinel_comes(channel, topic, group, harness.lease)

    async def test_what_a_leaving_holder_did_not_settle_comes_again_at_once(
        self, harness: Harness
    ) -> None:
        """C2: a clean leave gives back without waiting for the lease to end."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(6))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, *_held = await receive(sub, 3)
                await first.ack()
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                again = await receive(sub, 5)
                assert bodies(again) == [1, 2, 3, 4, 5]
                await ack_all(again)

    async def test_a_waiting_consumer_gets_what_another_one_gave_back(
        self, harness: Harness
    ) -> None:
        """C2: the one that gets it was already waiting when the holder left."""
        topic, group = fresh("topic"), fresh("group")
        holds, leave = anyio.Event(), anyio.Event()
        async with channel_of(harness) as channel, anyio.create_task_group() as tasks:
            await channel.publish_many(topic, range(2))

            async def hold() -> None:
                async with channel.subscribe(topic, group=group, lease=LONG) as leaving:
                    _held = await receive(leaving, 2)
                    holds.set()
                    await leave.wait()

            tasks.start_soon(hold)
            await holds.wait()
            async with channel.subscribe(topic, group=group, lease=LONG) as waiting:
                await wait_all_tasks_blocked()
                leave.set()
                got = await receive(waiting, 2)
                assert bodies(got) == [0, 1]
                await ack_all(got)

    async def test_what_a_silent_holder_had_comes_again_when_its_lease_ends(
        self, harness: Harness
    ) -> None:
        """C2: a holder that is not heard of keeps nothing beyond its lease."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            layer = channel.layer
            async with layer.consume(
                [topic], group, in_flight=3, lease=harness.lease, start=Start.EARLIEST
            ) as silent:
                held: list[object] = []
                while len(held) < 3:
                    held.extend(await silent.receive(3 - len(held)))
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    await harness.pass_time(harness.lease * 1.5)
                    again = await receive(sub, 3)
                    assert bodies(again) == [0, 1, 2]
                    assert {d.attempt for d in again} == {2}
                    await ack_all(again)

    async def test_a_killed_holders_messages_come_again_within_two_leases(
        self, harness: Harness
    ) -> None:
        """C2, H4: SIGKILL while holding; recovered through no lock that a dead process holds."""
        if harness.url is None:
            assert not harness.layer().capabilities.persistent  # dies with its process: no claim
            return
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(4))
            async with child("hold", harness, topic, group, 4) as process:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                killed = harness.clock.time()
                async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                    again = await receive(sub, 4)
                    assert bodies(again) == [0, 1, 2, 3]
                    assert {d.attempt for d in again} == {2}
                    # Two leases, and what starting a read costs on a busy machine.
                    assert harness.clock.time() - killed < 2 * harness.lease + 1.0
                    await ack_all(again)

    async def test_a_nack_brings_it_again_without_waiting_for_the_lease(
        self, harness: Harness
    ) -> None:
        """C3, C4: at once, to a group whose lease is long, and its neighbours stay where they are."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                deliveries = await receive(sub, 3)
                await next(d for d in deliveries if d.body == 1).nack()
                (again,) = await receive(sub, 1)
                assert (again.body, again.attempt) == (1, 2)
                await ack_all([again, *(d for d in deliveries if d.body != 1)])
                assert sub.statistics().acked == 3

    async def test_a_delayed_nack_brings_it_not_before_its_delay(self, harness: Harness) -> None:
        """C3: the delay is a promise; what is published meanwhile comes first."""
        topic, group = fresh("topic"), fresh("group")
        delay = harness.lease * 2
        async with channel_of(harness) as channel:
            await channel.publish(topic, "delayed")
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                (delivery,) = await receive(sub, 1)
                nacked = harness.clock.time()
                await delivery.nack(delay=delay)
                await channel.publish(topic, "meanwhile")
                (meanwhile,) = await receive(sub, 1)
                assert meanwhile.body == "meanwhile"
                await meanwhile.ack()
                again: list[Delivery[object]] = []
                async with anyio.create_task_group() as tasks:

                    async def read() -> None:
                        again.extend(await receive(sub, 1))

                    tasks.start_soon(read)
                    await harness.pass_time(delay * 1.1)
                assert (again[0].body, again[0].attempt) == ("delayed", 2)
                assert harness.clock.time() - nacked >= delay
                await ack_all(again)

    async def test_a_rejected_message_is_only_in_the_dead_letters(self, harness: Harness) -> None:
        """C5, D1: never again, and in the dead-letter topic if and only if there is one."""
        topic, dead, group = fresh("topic"), fresh("dead"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish(topic, "first", headers={"source": "web"})
            policy = Redelivery(dead_letter=dead)
            async with channel.subscribe(topic, group=group, redelivery=policy) as sub:
                await (await receive(sub, 1))[0].reject("no such customer")
            await channel.publish(topic, "second")
            async with channel.subscribe(topic, group=group) as sub:
                await (await receive(sub, 1))[0].reject()
            await nothing_but_a_sentinel_comes(channel, topic, group)
            async with channel.subscribe(dead, group=group) as sub:
                (letter,) = await receive(sub, 1)
                assert letter.body == "first"
                assert letter.headers["source"] == "web"
                assert letter.headers["acked-topic"] == topic
                assert letter.headers["acked-group"] == group
                assert letter.headers["acked-reason"] == "no such customer"
                await letter.ack()
            await nothing_but_a_sentinel_comes(channel, dead, group)

    async def test_the_first_settlement_wins(self, harness: Harness) -> None:
        """C6: the same again is a no-op, another one an error; concurrent ones are one action."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(2))
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                first, second = await receive(sub, 2)
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(first.ack)
                await first.ack()
                with pytest.raises(AlreadySettled):
                    await first.nack()
                with pytest.raises(AlreadySettled):
                    await first.reject()
                await second.nack()
                with pytest.raises(AlreadySettled):
                    await second.ack()
                (again,) = await receive(sub, 1)
                assert (again.body, again.attempt) == (second.body, 2)
                await again.ack()
                assert sub.statistics().acked == 2
            await nothing_but_a_sentinel_comes(channel, topic, group)

    async def test_a_stale_settlement_raises_and_spares_the_new_holder(
        self, harness: Harness
    ) -> None:
        """C7: settled after the lease, by each verb; the new holder's lease is untouched."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            # Renewal stops at once: it holds like a handler that has hung.
            hung = channel.subscribe(
                topic, group=group, in_flight=3, lease=harness.lease, max_lease=1e-9
            )
            async with hung as old:
                stale = await receive(old, 3)
                await harness.pass_time(harness.lease * 1.5)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as new:
                    held = await receive(new, 3)
                    assert {d.attempt for d in held} == {2}
                    with pytest.raises(LeaseLost):
                        await stale[0].ack()
                    with pytest.raises(LeaseLost):
                        await stale[1].nack()
                    with pytest.raises(LeaseLost):
                        await stale[2].reject()
                    await ack_all(held)
            await nothing_but_a_sentinel_comes(channel, topic, group, harness.lease)

    async def test_an_ack_that_returned_survives_sigkill_on_the_next_line(
        self, harness: Harness
    ) -> None:
        """C8: in a child process whose next line after `await ack()` is SIGKILL to itself."""
        if harness.url is None:
            assert not harness.layer().capabilities.persistent  # dies with its process: no claim
            return
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            async with child("ack", harness, topic, group, 2) as process:
                with anyio.fail_after(SOON):
                    assert await process.wait() == -signal.SIGKILL
            await harness.pass_time(harness.lease * 1.5)
            async with channel.subscribe(topic, group=group, lease=harness.lease) as sub:
                (only,) = await receive(sub, 1)
                assert only.body == 2
                await only.ack()
            await nothing_but_a_sentinel_comes(channel, topic, group, harness.lease)

    async def test_a_handler_that_outlives_the_lease_keeps_its_message(
        self, harness: Harness
    ) -> None:
        """C12, F6: renewed while held and while buffered, however long the handler takes."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(3))
            # Its window is full, so whatever becomes free goes to the other one.
            async with channel.subscribe(
                topic, group=group, in_flight=3, lease=harness.lease
            ) as sub:
                (held,) = await receive(sub, 1)
                async with channel.subscribe(topic, group=group, lease=harness.lease) as other:
                    await harness.pass_time(harness.lease * 5)
                    await channel.publish(topic, "sentinel")
                    (sentinel,) = await receive(other, 1)
                    assert sentinel.body == "sentinel"
                    await sentinel.ack()
                    await held.ack()
                rest = await receive(sub, 2)
                assert [d.attempt for d in rest] == [1, 1]
                await ack_all(rest)

    async def test_attempts_count_every_redelivery_and_no_release(self, harness: Harness) -> None:
        """C16: +1 by nack, by a break, by a lease that ended; none by a release."""
        topic, group = fresh("topic"), fresh("group")
        async with channel_of(harness) as channel:
            await channel.publish(topic, "body")

            async def attempt_then(leave: str) -> int:
                lease = harness.lease
                with anyio.CancelScope() as scope:
                    async with channel.subscribe(topic, group=group, lease=lease) as sub:
                        (delivery,) = await receive(sub, 1)
                        if leave == "nack":
                            await delivery.nack()
                        elif leave == "cancel":
                            scope.cancel()
                            await anyio.sleep_forever()
                        elif leave == "ack":
                            await delivery.ack()
                return delivery.attempt

            assert await attempt_then("nack") == 1
            assert await attempt_then("break") == 2
            assert await attempt_then("cancel") == 3
            assert await attempt_then("cancel") == 3
            assert await attempt_then("nack") == 3
            async with channel.layer.consume(
                [topic], group, in_flight=1, lease=harness.lease, start=Start.EARLIEST
            ) as silent:
                (leased,) = await silent.receive(1)
                assert leased.attempt == 4
                await harness.pass_time(harness.lease * 1.5)
                assert await attempt_then("ack") == 5


def child(mode: str, harness: Harness, topic: str, group: str, count: int):
    """Start a child process that holds or acks `count` messages; entered when it has said so."""
    return _Child(mode, harness, topic, group, count)


class _Child:
    def __init__(self, mode: str, harness: Harness, topic: str, group: str, count: int) -> None:
        assert harness.url is not None
        self._command = [
            sys.executable,
            str(Path(__file__).with_name("child.py")),
            *(mode, harness.url, topic, group, str(count), str(harness.lease)),
        ]

    async def __aenter__(self) -> anyio.abc.Process:
        self._process = await anyio.open_process(
            self._command, stderr=None, env=os.environ | {"PYTHONWARNINGS": "ignore"}
        )
        assert self._process.stdout is not None
        said = b""
        with anyio.fail_after(30):
            while b"ready" not in said:
                said += await self._process.stdout.receive()
        return self._process

    async def __aexit__(self, *exc: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()
