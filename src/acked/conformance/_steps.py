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

from acked import (
    AckedError,
    AckUnconfirmed,
    AlreadySettled,
    CapabilityError,
    Delivery,
    LayerError,
    LeaseLost,
    PublishFailed,
)
from acked.conformance._cast import Consumer, Holding, Reading
from acked.conformance._waiting import CANCELLED, TURNS
from acked.conformance._world import World
from acked.conformance.model import NEVER, Answer, Illegal
from acked.types import Outcome, Settlement, Verb

__all__ = ("STEPS", "begin_reading", "publish", "receive", "settle")

ANSWERS: Final = {
    Outcome.CONFIRMED: Answer.DONE,
    Outcome.SENT: Answer.DONE,
    Outcome.LOST: Answer.LOST,
    Outcome.UNKNOWN: Answer.UNKNOWN,
}


async def publish(world: World, count: int) -> None:
    """Publish `count` messages in one request."""
    names = [world.fresh("m") for _ in range(count)]
    failures: dict[int, Exception] = {}
    indeterminate = False
    try:
        await world.channel.publish_many(world.topic, names)
    except PublishFailed as failed:
        _require_disturbed(world, failed)
        failures, indeterminate = dict(failed.failures), failed.indeterminate
    for number, name in enumerate(names):
        if number not in failures or indeterminate:
            world.model.published(name, certain=number not in failures)


async def publish_cancelled(world: World, turns: int) -> None:
    """Publish one message and cancel that."""
    name = world.fresh("m")
    answer = await world.waiting.tried(lambda: world.channel.publish(world.topic, name), turns)
    if isinstance(answer, LayerError):
        _require_disturbed(world, answer)
    world.model.published(name, certain=answer is None)


async def open_(world: World, name: str) -> None:
    """Let the consumer join, unless it is there already."""
    await world.consumer(name)


async def receive(world: World, name: str) -> Holding | None:
    """Read one delivery; where one must come, wait for it."""
    consumer = await world.consumer(name)
    if consumer is None or consumer.full():
        return None
    must = world.must_come(consumer.group, consumer)
    holding = await _read(world, consumer, patient=bool(must))
    if holding is None and must:
        owed = (f"{one} is {world.model.describe(consumer.group, one)}" for one in sorted(must))
        raise Illegal(
            f"{name} waited in vain for what its group is owed, more than the windows of other "
            f"consumers have room for: {'; '.join(owed)}"
        )
    return holding


async def begin_reading(world: World, name: str) -> None:
    """Let the consumer wait for a delivery while the program goes on."""
    consumer = await world.consumer(name)
    if consumer is not None and consumer.reading is None and not consumer.full():
        consumer.reading = Reading()
        world.tasks.start_soon(consumer.reading.run, consumer.seat.inside.__anext__)


async def read_cancelled(world: World, name: str, turns: int) -> None:
    """Begin to read one delivery and cancel that."""
    consumer = await world.consumer(name)
    if consumer is not None and not consumer.full():
        await _read(world, consumer, patient=False, turns=turns)


async def ack(world: World, name: str, pick: int, turns: int | None = None) -> None:
    """Ack one of the deliveries; cancel that, if `turns` are given."""
    if (holding := _picked(world, name, pick)) is not None:
        await settle(world, holding, Verb.ACK, lambda one: one.ack(), turns)


async def nack(
    world: World, name: str, pick: int, delay: float = 0.0, turns: int | None = None
) -> None:
    """Nack likewise."""
    seconds = delay * world.harness.lease if world.capabilities.nack_delay else 0.0
    if (holding := _picked(world, name, pick)) is not None:
        free_at = world.now + seconds if seconds else 0.0
        await settle(world, holding, Verb.NACK, lambda one: one.nack(delay=seconds), turns, free_at)


async def reject(world: World, name: str, pick: int, turns: int | None = None) -> None:
    """Reject likewise."""
    if (holding := _picked(world, name, pick)) is not None:
        if holding.may_be_held:
            world.burials[holding.group, holding.delivery.body] += 1
        await settle(world, holding, Verb.REJECT, lambda one: one.reject("no"), turns)


async def extend(world: World, name: str, pick: int) -> None:
    """Extend the lease of one of the deliveries."""
    holding = _picked(world, name, pick)
    if holding is None:
        return
    answer = await world.waiting.tried(lambda: holding.delivery.extend(2 * world.harness.lease))
    if not world.capabilities.extend:
        _expect(answer, CapabilityError, "extending, which the layer cannot do,")
    elif not holding.may_be_held:
        _expect(answer, LeaseLost, "extending what is not held")
    elif isinstance(answer, LeaseLost):
        if holding.verb is None:
            _lost(world, holding, Verb.NACK)
    elif answer is not None:
        _require_disturbed(world, _error(answer))
    else:  # the engine goes on renewing it
        world.model.extended(holding.group, holding.delivery.body, holding.lease, NEVER)


async def leave(world: World, name: str) -> None:
    """Let the consumer leave its subscription as `break` does."""
    await world.leave(name)


async def interrupt(world: World, name: str) -> None:
    """Let the consumer leave by cancellation."""
    await world.leave(name, interrupted=True)


async def reopen(world: World) -> None:
    """Close the channel under its subscriptions, and open another one over the same broker."""
    async with anyio.create_task_group() as together:
        together.start_soon(world.channel.aclose)
        await world.waiting.pause(2)
        await world.leave_all()
    world.channel = world.harness.channel()
    await world.channel.__aenter__()


async def ghost(world: World, group: str, count: int) -> None:
    """Let a consumer take up to `count` messages and fall silent."""
    if world.capabilities.lease != "timer" or not world.must_come(group, None):
        return
    silent = await world.ghost(group, count)
    until = world.now + world.harness.lease
    batch = await world.waiting.patiently(lambda: silent.seat.inside.receive(count))
    if batch is None:
        raise Illegal(f"a feed of group {group!r} waited in vain for what is ready")
    for leased in batch:
        message = msgspec.json.decode(leased.record.body, type=str)
        lease = world.model.delivered(group, message, leased.attempt, silent.name, world.now, until)
        silent.holdings.append((message, lease, leased))


async def ghost_settles(world: World, pick: int, verb: int) -> None:
    """Let a silent consumer settle something after all, whoever has it now."""
    found = [(one, holding) for one in world.ghosts for holding in one.holdings]
    if not found:
        return
    silent, holding = found[pick % len(found)]
    message, lease, leased = holding
    silent.holdings.remove(holding)
    (outcome,) = await silent.seat.inside.settle([Settlement(leased.token, Verb(verb))])
    answer = ANSWERS[outcome] if isinstance(outcome, Outcome) else Answer.UNKNOWN
    world.model.settled(silent.group, message, lease, Verb(verb), answer, world.now)


async def pass_time(world: World, leases: float) -> None:
    """Let time pass."""
    await world.harness.pass_time(leases * world.harness.lease)


async def cut(world: World) -> None:
    """Break every connection, where the harness can."""
    await _disturb(world, world.harness.cut)


async def restart(world: World) -> None:
    """Restart the broker, where the harness can and the layer claims to survive it."""
    if world.capabilities.persistent:
        await _disturb(world, world.harness.restart_broker)


STEPS: Final[dict[str, Callable[..., Awaitable[object]]]] = {
    step.__name__.rstrip("_"): step
    for step in (
        *(publish, publish_cancelled, open_, receive, begin_reading, read_cancelled),
        *(ack, nack, reject, extend, leave, interrupt, reopen),
        *(ghost, ghost_settles, pass_time, cut, restart),
    )
}
"""What may be in a program, by name."""


async def settle(
    world: World,
    holding: Holding,
    verb: Verb,
    call: Callable[[Delivery[str]], Awaitable[None]],
    turns: int | None = None,
    free_at: float = 0.0,
) -> None:
    """Settle, and compare what was answered with what may be answered."""
    answer = await world.waiting.tried(lambda: call(holding.delivery), turns)
    if not getattr(world.capabilities, verb.name.lower(), True):
        _expect(answer, CapabilityError, f"{verb.name}, which the layer cannot do,")
    elif holding.sure:
        wrong = None if verb is holding.verb else AlreadySettled
        _expect(answer, wrong, f"{verb.name} of what was settled")
    elif holding.over:
        if holding.verb is None:
            _expect(answer, LeaseLost, f"{verb.name} of what is not held any more")
    elif answer is None:
        _note(world, holding, verb, Answer.DONE, free_at)
        holding.verb, holding.sure = verb, True
    elif isinstance(answer, LeaseLost):
        _lost(world, holding, verb)
    elif answer is CANCELLED or isinstance(answer, AckUnconfirmed):
        if answer is not CANCELLED:
            _require_disturbed(world, _error(answer))
        _note(world, holding, verb, Answer.UNKNOWN, free_at)
        holding.verb = verb
    elif not isinstance(answer, AlreadySettled) or holding.verb in {None, verb}:
        raise Illegal(f"{verb.name} raised {answer!r}") from _error(answer)


async def _read(
    world: World, consumer: Consumer, *, patient: bool, turns: int = TURNS
) -> Holding | None:
    reading = consumer.reading
    if reading is not None:
        await world.waiting.wait_for_more(reading.ended, patient=patient, turns=turns)
        return world.collect(consumer)
    read = consumer.seat.inside.__anext__
    delivery = await world.waiting.wait_for_more(read, patient=patient, turns=turns)
    return None if delivery is None else world.took(consumer, delivery)


def _picked(world: World, name: str, pick: int) -> Holding | None:
    present = world.consumers.get(name)
    ever = world.former[name] + (present.holdings if present is not None else [])
    held_first = sorted(ever, key=lambda one: not one.may_be_held)
    return held_first[pick % len(ever)] if ever else None


def _note(world: World, holding: Holding, verb: Verb, answer: Answer, free_at: float) -> None:
    world.model.settled(
        holding.group,
        holding.delivery.body,
        holding.lease,
        verb,
        answer,
        world.now,
        free_at=free_at,
        buried=world.capabilities.dead_letter,
        again=holding.verb is verb,
    )


def _lost(world: World, holding: Holding, verb: Verb) -> None:
    _note(world, holding, verb, Answer.LOST, 0.0)
    holding.over = True


def _require_disturbed(world: World, error: BaseException) -> None:
    """Raise `Illegal` for an error that a healthy broker gives no reason for."""
    if not world.disturbed:
        raise Illegal(f"nothing was wrong with the broker, but: {error!r}") from error


def _error(answer: object) -> BaseException:
    assert isinstance(answer, BaseException)  # noqa: S101 - the only other answers were handled
    return answer


def _expect(answer: object, wanted: type[AckedError] | None, what: str) -> None:
    if answer is CANCELLED:
        return
    if wanted is None and answer is not None:
        raise Illegal(f"{what} in the same way is a no-op; it raised {answer!r}")
    if wanted is not None and not isinstance(answer, wanted):
        raise Illegal(f"{what} must raise {wanted.__name__}; the answer was {answer!r}")


async def _disturb(world: World, hook: Callable[[], Awaitable[Any]] | None) -> None:
    if hook is not None:
        world.disturbed = world.waiting.faulty = True
        world.model.disturbed(ends_leases=world.capabilities.lease == "connection")
        await hook()
