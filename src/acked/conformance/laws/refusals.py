"""Laws H9, A8, C9, C11: a broker that says no is told as that, costs nothing, and is asked again.

It says no to whoever calls, by the hooks: `busy`, which may pass, and `forbid`, a right that was
taken away. Neither is a lost connection: who looks for one looks in the wrong place.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import anyio
import pytest

from acked import ConnectionLost, Delivery, LayerError, PublishFailed
from acked.conformance.harness import Call, Harness
from acked.conformance.law import law, soon
from acked.conformance.laws.owed import all_that_is_owed, nothing_is_owed
from acked.conformance.laws.steps import LONG, ack_all, bodies, place, receive

__all__ = ("RefusalLaws",)

Hook: TypeAlias = Callable[[Call], AbstractAsyncContextManager[None]]


class RefusalLaws:
    """What was refused is not done and not lost, and can be done when nothing is in its way."""

    @law("H9", "A8", needs=("publish_confirm",), hooks=("busy publish",))
    async def test_what_a_busy_broker_does_not_take_is_not_accepted(self, harness: Harness) -> None:
        """H9, A8: each member is refused, and why; published again it comes, once."""
        assert harness.busy is not None
        await publishing_is_refused(harness, harness.busy)

    @law("H9", "A8", needs=("publish_confirm",), hooks=("forbid publish",))
    async def test_what_may_not_be_published_is_not_accepted(self, harness: Harness) -> None:
        """H9, A8: likewise."""
        assert harness.forbid is not None
        await publishing_is_refused(harness, harness.forbid)

    @law("H9", hooks=("busy receive",))
    async def test_a_reader_goes_on_when_the_broker_is_not_busy_any_more(
        self, harness: Harness
    ) -> None:
        """H9: it says that it does not receive; nothing is lost, nothing charged."""
        assert harness.busy is not None
        async with place(harness) as (channel, topic, group):
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await channel.publish_many(topic, range(2))
                got: list[Delivery[object]] = []

                async def read() -> None:
                    got.extend([await anext(sub), await anext(sub)])

                async with anyio.create_task_group() as tasks:
                    async with harness.busy("receive"):
                        tasks.start_soon(read)
                        await until(harness, lambda: not sub.is_receiving)
                    await until(harness, lambda: bool(got))
                assert bodies(got) == [0, 1]
                if channel.layer.capabilities.attempts:
                    assert {delivery.attempt for delivery in got} == {1}
                await ack_all(got)
            await nothing_is_owed(channel, topic, group)

    @law("H9", "G6", hooks=("busy receive",))
    async def test_who_does_not_wait_for_a_busy_broker_is_told_that_it_is(
        self, harness: Harness
    ) -> None:
        """H9, G6: and not that there is no connection; another reader gets it afterwards."""
        assert harness.busy is not None
        await receiving_is_refused(harness, harness.busy)

    @law("H9", "G6", hooks=("forbid receive",))
    async def test_who_may_not_receive_is_told_so(self, harness: Harness) -> None:
        """H9, G6: likewise; it does not wait for ever for what it will not get."""
        assert harness.forbid is not None
        await receiving_is_refused(harness, harness.forbid)

    @law("H9", "C9", needs=("confirmed_ack", "nack", "reject"), hooks=("busy settle",))
    async def test_what_a_busy_broker_does_not_settle_is_held(self, harness: Harness) -> None:
        """H9, C9: by each verb; afterwards each can be settled, and holds."""
        assert harness.busy is not None
        await settling_is_refused(harness, harness.busy)

    @law("H9", "C9", needs=("confirmed_ack", "nack", "reject"), hooks=("forbid settle",))
    async def test_what_may_not_be_settled_is_held(self, harness: Harness) -> None:
        """H9, C9: likewise."""
        assert harness.forbid is not None
        await settling_is_refused(harness, harness.forbid)

    @law("H9", "C11", needs=("extend",), hooks=("busy extend",))
    async def test_what_a_busy_broker_does_not_extend_is_held_as_before(
        self, harness: Harness
    ) -> None:
        """H9, C11: the lease is not lost; afterwards it can be extended."""
        assert harness.busy is not None
        await extending_is_refused(harness, harness.busy)

    @law("H9", "C11", needs=("extend",), hooks=("forbid extend",))
    async def test_what_may_not_be_extended_is_held_as_before(self, harness: Harness) -> None:
        """H9, C11: likewise."""
        assert harness.forbid is not None
        await extending_is_refused(harness, harness.forbid)


async def publishing_is_refused(harness: Harness, hook: Hook) -> None:
    """Try while the broker says no, and again afterwards."""
    async with place(harness) as (channel, topic, group):
        await channel.publish(topic, "before")
        async with hook("publish"):
            with pytest.raises(PublishFailed) as failed, anyio.fail_after(2 * soon()):
                await channel.publish_many(topic, ["refused", "too"])
        failures = failed.value.failures
        assert set(failures) == {0, 1}
        assert not failed.value.indeterminate, "the broker has said what it did: nothing"
        for error in failures.values():
            says_no(error)
        await channel.publish(topic, "refused")
        async with channel.subscribe(topic, group=group, lease=LONG) as sub:
            owed = await all_that_is_owed(channel, topic, sub)
        assert bodies(owed) == ["before", "refused"]


async def receiving_is_refused(harness: Harness, hook: Hook) -> None:
    """Read, without patience, what the broker does not give; let another one have it."""
    async with place(harness) as (channel, topic, group):
        impatient = channel.subscribe(topic, group=group, lease=LONG, reconnect_timeout=0.0)
        async with impatient as sub:
            await channel.publish_many(topic, range(2))
            async with hook("receive"):
                with pytest.raises(LayerError) as refused, anyio.fail_after(2 * soon()):
                    await anext(sub)
        says_no(refused.value)
        async with channel.subscribe(topic, group=group, lease=LONG) as sub:
            got = await receive(sub, 2)
            assert bodies(got) == [0, 1]
            await ack_all(got)
        await nothing_is_owed(channel, topic, group)


async def settling_is_refused(harness: Harness, hook: Hook) -> None:
    """Settle by each verb while the broker says no, and again afterwards."""
    async with place(harness) as (channel, topic, group):
        await channel.publish_many(topic, range(4))
        async with channel.subscribe(topic, group=group, lease=LONG) as sub:
            acked, nacked, rejected, neighbour = await receive(sub, 4)
            verbs = (acked.ack, nacked.nack, rejected.reject)
            # Where a lease is a connection, a nack may be the consumer's own affair.
            timed = channel.layer.capabilities.lease == "timer"
            async with hook("settle"):
                for settle in verbs if timed else (acked.ack, rejected.reject):
                    with pytest.raises(LayerError) as refused, anyio.fail_after(2 * soon()):
                        await settle()
                    says_no(refused.value)
            assert sub.statistics().held == 4
            await neighbour.ack()
            for settle in verbs:
                await settle()
            (again,) = await receive(sub, 1)
            assert again.body == nacked.body
            await again.ack()
        await nothing_is_owed(channel, topic, group)


async def extending_is_refused(harness: Harness, hook: Hook) -> None:
    """Extend while the broker says no, and again afterwards."""
    async with place(harness) as (channel, topic, group):
        await channel.publish_many(topic, range(2))
        async with channel.subscribe(topic, group=group, lease=LONG) as sub:
            held = await receive(sub, 2)
            async with hook("extend"):
                with pytest.raises(LayerError) as refused, anyio.fail_after(2 * soon()):
                    await held[0].extend(2 * LONG)
            says_no(refused.value)
            await held[0].extend(2 * LONG)
            await ack_all(held)
        await nothing_is_owed(channel, topic, group)


def says_no(error: Exception) -> None:
    """See that `error` is of a broker that answered, and says what it has answered."""
    assert isinstance(error, LayerError), error
    assert not isinstance(error, ConnectionLost), f"the broker said no, but we say: {error}"
    assert error.__cause__ is not None, f"nobody learns what the broker said: {error}"


async def until(harness: Harness, is_true: Callable[[], bool]) -> None:
    """Let time pass until `is_true`, soon."""
    with anyio.fail_after(2 * soon()):
        while not is_true():
            await harness.pass_time(harness.lease / 50)
