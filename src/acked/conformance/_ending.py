"""How a program ends: exactly what is still owed comes, and nothing else."""

from collections import Counter

from acked.conformance._steps import begin_reading, publish, receive, settle
from acked.conformance._waiting import TURNS
from acked.conformance._world import CONSUMERS, GROUPS, World
from acked.conformance.model import Illegal
from acked.types import Verb

__all__ = ("finish",)

TRIES = 20
"""How often an ack may go unanswered, on a faulty layer."""


async def finish(world: World) -> None:
    """Let who lives leave, drain every group, and look into the dead letters."""
    for name in tuple(world.consumers):
        await world.leave(name)  # the ghosts stay: nobody gives back what they hold
    wait = world.model.quiet_at() - world.now
    if wait > 0:
        await world.harness.pass_time(wait)
    names = [next(name for name in CONSUMERS if name[0] == group) for group in GROUPS]
    await publish(world, 1)  # what comes unbidden comes before it
    for name in names:
        await _drain(world, name)
    for name in names:  # now nothing is owed, so a reader waits until it is woken
        await begin_reading(world, name)
    await world.waiting.pause(TURNS)
    await publish(world, 1)
    for name in names:
        await _drain(world, name)
    if world.capabilities.dead_letter:
        await _check_dead_letters(world)


async def _drain(world: World, name: str) -> None:
    while (holding := await receive(world, name)) is not None:
        for _ in range(TRIES):
            await settle(world, holding, Verb.ACK, lambda one: one.ack())
            if not holding.may_be_held:
                break
        else:
            raise Illegal(f"{holding.delivery!r} could not be acked in {TRIES} tries")
    await world.leave(name)


async def _check_dead_letters(world: World) -> None:
    """Compare the dead letters with what was rejected: each once, more often only by faults.

    A copy may be there although the original came again: it is made first, and a rejection may be
    cut short. So a copy needs an attempt at rejecting, and a rejection that was confirmed a copy.
    """
    missing = {
        (group, message)
        for group in GROUPS
        for message, certain in world.model.dead(group).items()
        if certain
    }
    letters = {name: letter for letter, name in world.group_names.items()}
    seen: Counter[tuple[str, str]] = Counter()
    seat = await world.seated(lambda: world.channel.subscribe(world.dead, group=world.undertaker))
    try:
        while (
            one := await world.waiting.wait_for_more(seat.inside.__anext__, patient=bool(missing))
        ) is not None:
            await world.waiting.tried(one.ack)
            found = (letters[one.headers["acked-group"]], one.body)
            seen[found] += 1
            missing.discard(found)
    finally:
        await seat.leave()
    if missing:
        raise Illegal(f"rejected, and not in the dead letters: {sorted(missing)}")
    if invented := seen.keys() - world.burials.keys():
        raise Illegal(f"in the dead letters, and never rejected: {sorted(invented)}")
    if not world.disturbed and (extra := seen - world.burials):
        raise Illegal(f"in the dead letters more often than rejected: {dict(extra)}")
