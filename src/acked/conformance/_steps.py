"""The steps of programs: each is done with the layer and with the model, and the two compared.

What cannot be done in a situation is left out, so any list of steps is a program, and so is any
part of one: that is what makes programs shrink well. `turns` is after how many turns of the loop
the operation is cancelled, `pick` chooses among all that a consumer ever had, first what it holds,
then what is settled or stale; delays and times are in leases.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import msgspec

from acked import CapabilityError, LayerError, LeaseLost, PublishFailed
from acked.conformance._actors import Consumer, Holding, Reading
from acked.conformance._answers import error_of, expect, lose, require_disturbed, settle
from acked.conformance._environment import Environment
from acked.conformance._waiting import TURNS
from acked.conformance.model import NEVER, Answer, Illegal
from acked.types import Outcome, Settlement, Verb

__all__ = ("STEPS", "begin_reading", "publish", "receive")

ANSWERS: Final = {
    Outcome.CONFIRMED: Answer.DONE,
    Outcome.SENT: Answer.DONE,
    Outcome.LOST: Answer.LOST,
    Outcome.UNKNOWN: Answer.UNKNOWN,
}


async def publish(env: Environment, count: int) -> None:
    """Publish `count` messages in one request."""
    names = [env.fresh("m") for _ in range(count)]
    failures: dict[int, Exception] = {}
    indeterminate = False
    try:
        await env.channel.publish_many(env.topic, names)
    except PublishFailed as failed:
        require_disturbed(env, failed)
        failures, indeterminate = dict(failed.failures), failed.indeterminate
    for number, name in enumerate(names):
        if number not in failures or indeterminate:
            env.model.published(name, certain=number not in failures)


async def publish_cancelled(env: Environment, turns: int) -> None:
    """Publish one message and cancel that."""
    name = env.fresh("m")
    answer = await env.waiting.tried(lambda: env.channel.publish(env.topic, name), turns)
    if isinstance(answer, LayerError):
        require_disturbed(env, answer)
    env.model.published(name, certain=answer is None)


async def open_(env: Environment, name: str) -> None:
    """Let the consumer join, unless it is there already."""
    await env.consumer(name)


async def receive(env: Environment, name: str) -> Holding | None:
    """Read one delivery; where one must come, wait for it."""
    consumer = await env.consumer(name)
    if consumer is None or consumer.full():
        return None
    must = env.must_come(consumer.group, consumer)
    holding = await _read(env, consumer, patient=bool(must))
    if holding is None and must:
        owed = (f"{one} is {env.model.describe(consumer.group, one)}" for one in sorted(must))
        raise Illegal(
            f"{name} waited in vain for what its group is owed, more than the windows of other "
            f"consumers have room for: {'; '.join(owed)}"
        )
    return holding


async def begin_reading(env: Environment, name: str) -> None:
    """Let the consumer wait for a delivery while the program goes on."""
    consumer = await env.consumer(name)
    if consumer is not None and consumer.reading is None and not consumer.full():
        consumer.reading = Reading()
        env.tasks.start_soon(consumer.reading.run, consumer.task.inside.__anext__)


async def read_cancelled(env: Environment, name: str, turns: int) -> None:
    """Begin to read one delivery and cancel that."""
    consumer = await env.consumer(name)
    if consumer is not None and not consumer.full():
        await _read(env, consumer, patient=False, turns=turns)


async def ack(env: Environment, name: str, pick: int, turns: int | None = None) -> None:
    """Ack one of the deliveries; cancel that, if `turns` are given."""
    if (holding := _picked(env, name, pick)) is not None:
        await settle(env, holding, Verb.ACK, lambda one: one.ack(), turns)


async def nack(
    env: Environment, name: str, pick: int, delay: float = 0.0, turns: int | None = None
) -> None:
    """Nack likewise."""
    seconds = delay * env.harness.lease if env.capabilities.nack_delay else 0.0
    if (holding := _picked(env, name, pick)) is not None:
        free_at = env.now + seconds if seconds else 0.0
        await settle(env, holding, Verb.NACK, lambda one: one.nack(delay=seconds), turns, free_at)


async def reject(env: Environment, name: str, pick: int, turns: int | None = None) -> None:
    """Reject likewise."""
    if (holding := _picked(env, name, pick)) is not None:
        if holding.may_be_held:
            env.rejections[holding.group, holding.delivery.body] += 1
        await settle(env, holding, Verb.REJECT, lambda one: one.reject("no"), turns)


async def extend(env: Environment, name: str, pick: int) -> None:
    """Extend the lease of one of the deliveries."""
    holding = _picked(env, name, pick)
    if holding is None:
        return
    answer = await env.waiting.tried(lambda: holding.delivery.extend(2 * env.harness.lease))
    if not env.capabilities.extend:
        expect(answer, CapabilityError, "extending, which the layer cannot do,")
    elif not holding.may_be_held:
        expect(answer, LeaseLost, "extending what is not held")
    elif isinstance(answer, LeaseLost):
        if holding.verb is None:
            lose(env, holding, Verb.NACK)
    elif answer is not None:
        require_disturbed(env, error_of(answer))
    else:  # the engine goes on renewing it
        env.model.extended(holding.group, holding.delivery.body, holding.lease, NEVER)


async def leave(env: Environment, name: str) -> None:
    """Let the consumer leave its subscription as `break` does."""
    await env.leave(name)


async def interrupt(env: Environment, name: str) -> None:
    """Let the consumer leave by cancellation."""
    await env.leave(name, interrupted=True)


async def reopen(env: Environment) -> None:
    """Close the channel under its subscriptions, and open another one over the same broker."""
    async with anyio.create_task_group() as together:
        together.start_soon(env.channel.aclose)
        await env.waiting.pause(2)
        await env.leave_all()
    env.channel = env.harness.channel()
    await env.channel.__aenter__()


async def fall_silent(env: Environment, group: str, count: int) -> None:
    """Let a consumer take up to `count` messages and fall silent."""
    if env.capabilities.lease != "timer" or not env.must_come(group, None):
        return
    silent = await env.silent_consumer(group, count)
    until = env.now + env.harness.lease
    batch = await env.waiting.patiently(lambda: silent.task.inside.receive(count))
    if batch is None:
        raise Illegal(f"a feed of group {group!r} waited in vain for what is ready")
    for leased in batch:
        message = msgspec.json.decode(leased.record.body, type=str)
        lease = env.model.delivered(group, message, leased.attempt, silent.name, env.now, until)
        silent.holdings.append((message, lease, leased))


async def silent_settles(env: Environment, pick: int, verb: int) -> None:
    """Let a silent consumer settle something after all, whoever has it now."""
    found = [(one, holding) for one in env.silent_consumers for holding in one.holdings]
    if not found:
        return
    silent, holding = found[pick % len(found)]
    message, lease, leased = holding
    silent.holdings.remove(holding)
    (outcome,) = await silent.task.inside.settle([Settlement(leased.token, Verb(verb))])
    answer = ANSWERS[outcome] if isinstance(outcome, Outcome) else Answer.UNKNOWN
    env.model.settled(silent.group, message, lease, Verb(verb), answer, env.now)


async def pass_time(env: Environment, leases: float) -> None:
    """Let time pass."""
    await env.harness.pass_time(leases * env.harness.lease)


async def cut(env: Environment) -> None:
    """Break every connection, where the harness can."""
    await _disturb(env, env.harness.cut)


async def restart(env: Environment) -> None:
    """Restart the broker, where the harness can and the layer claims to survive it."""
    if env.capabilities.persistent:
        await _disturb(env, env.harness.restart_broker)


STEPS: Final[dict[str, Callable[..., Awaitable[object]]]] = {
    step.__name__.rstrip("_"): step
    for step in (
        *(publish, publish_cancelled, open_, receive, begin_reading, read_cancelled),
        *(ack, nack, reject, extend, leave, interrupt, reopen),
        *(fall_silent, silent_settles, pass_time, cut, restart),
    )
}
"""What may be in a program, by name."""


async def _read(
    env: Environment, consumer: Consumer, *, patient: bool, turns: int = TURNS
) -> Holding | None:
    reading = consumer.reading
    if reading is not None:
        await env.waiting.wait_for_more(reading.ended, patient=patient, turns=turns)
        return env.collect(consumer)
    read = consumer.task.inside.__anext__
    delivery = await env.waiting.wait_for_more(read, patient=patient, turns=turns)
    return None if delivery is None else env.took(consumer, delivery)


def _picked(env: Environment, name: str, pick: int) -> Holding | None:
    present = env.consumers.get(name)
    ever = env.former[name] + (present.holdings if present is not None else [])
    held_first = sorted(ever, key=lambda one: not one.may_be_held)
    return held_first[pick % len(ever)] if ever else None


async def _disturb(env: Environment, hook: Callable[[], Awaitable[Any]] | None) -> None:
    if hook is not None:
        env.disturbed = env.waiting.faulty = True
        env.model.disturbed(ends_leases=env.capabilities.lease == "connection")
        await hook()
