"""How a program ends: exactly what is still owed comes, and nothing else."""

from collections import Counter

from acked.conformance._answers import settle
from acked.conformance._environment import CONSUMERS, GROUPS, Environment
from acked.conformance._steps import begin_reading, publish, receive
from acked.conformance._waiting import TURNS
from acked.conformance.model import Illegal
from acked.types import Verb

__all__ = ("finish",)

TRIES = 20
"""How often an ack may go unanswered, on a faulty layer."""


async def finish(env: Environment) -> None:
    """Let who lives leave, drain every group, and look into the dead letters."""
    for name in tuple(env.consumers):
        await env.leave(name)  # the silent ones stay: nobody gives back what they hold
    wait = env.model.quiet_at() - env.now
    if wait > 0:
        await env.harness.pass_time(wait)
    names = [next(name for name in CONSUMERS if name[0] == group) for group in GROUPS]
    await publish(env, 1)  # what comes unbidden comes before it
    for name in names:
        await _drain(env, name)
    for name in names:  # now nothing is owed, so a reader waits until it is woken
        await begin_reading(env, name)
    await env.waiting.pause(TURNS)
    await publish(env, 1)
    for name in names:
        await _drain(env, name)
    if env.capabilities.dead_letter:
        await _check_dead_letters(env)


async def _drain(env: Environment, name: str) -> None:
    while (holding := await receive(env, name)) is not None:
        for _ in range(TRIES):
            await settle(env, holding, Verb.ACK, lambda one: one.ack())
            if not holding.may_be_held:
                break
        else:
            raise Illegal(f"{holding.delivery!r} could not be acked in {TRIES} tries")
    await env.leave(name)


async def _check_dead_letters(env: Environment) -> None:
    """Compare the dead letters with what was rejected: each once, more often only by faults.

    A copy may be there although the original came again: it is made first, and a rejection may be
    cut short. So a copy needs an attempt at rejecting, and a rejection that was confirmed a copy.
    """
    missing = {
        (group, message)
        for group in GROUPS
        for message, certain in env.model.dead(group).items()
        if certain
    }
    letters = {name: letter for letter, name in env.group_names.items()}
    seen: Counter[tuple[str, str]] = Counter()
    group = env.dead_letter_reader
    reader = await env.entered(lambda: env.channel.subscribe(env.dead, group=group))
    try:
        while (
            one := await env.waiting.wait_for_more(reader.inside.__anext__, patient=bool(missing))
        ) is not None:
            await env.waiting.tried(one.ack)
            found = (letters[one.headers["acked-group"]], one.body)
            seen[found] += 1
            missing.discard(found)
    finally:
        await reader.leave()
    if missing:
        raise Illegal(f"rejected, and not in the dead letters: {sorted(missing)}")
    if invented := seen.keys() - env.rejections.keys():
        raise Illegal(f"in the dead letters, and never rejected: {sorted(invented)}")
    if not env.disturbed and (extra := seen - env.rejections):
        raise Illegal(f"in the dead letters more often than rejected: {dict(extra)}")
