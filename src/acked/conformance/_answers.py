"""What a call answered, compared with what the model says it may answer."""

from collections.abc import Awaitable, Callable

from acked import (
    AckedError,
    AckUnconfirmed,
    AlreadySettled,
    CapabilityError,
    Delivery,
    LayerError,
    LeaseLost,
)
from acked.conformance._actors import Holding
from acked.conformance._environment import Environment
from acked.conformance._waiting import CANCELLED
from acked.conformance.model import Answer, Illegal
from acked.types import Verb

__all__ = ("error_of", "expect", "lose", "require_disturbed", "settle")


async def settle(
    env: Environment,
    holding: Holding,
    verb: Verb,
    call: Callable[[Delivery[str]], Awaitable[None]],
    turns: int | None = None,
    free_at: float = 0.0,
) -> None:
    """Settle, and compare what was answered with what may be answered."""
    answer = await env.waiting.tried(lambda: call(holding.delivery), turns)
    if not getattr(env.capabilities, verb.name.lower(), True):
        expect(answer, CapabilityError, f"{verb.name}, which the layer cannot do,")
    elif holding.sure:
        wrong = None if verb is holding.verb else AlreadySettled
        expect(answer, wrong, f"{verb.name} of what was settled")
    elif holding.over:
        if holding.verb is None:
            expect(answer, LeaseLost, f"{verb.name} of what is not held any more")
    elif answer is None:
        _note(env, holding, verb, Answer.DONE, free_at)
        holding.verb, holding.sure = verb, True
    elif isinstance(answer, LeaseLost):
        lose(env, holding, verb)
    elif answer is CANCELLED or isinstance(answer, AckUnconfirmed | LayerError):
        if answer is not CANCELLED:
            require_disturbed(env, error_of(answer))
        _note(env, holding, verb, Answer.UNKNOWN, free_at)
        holding.verb = verb
    elif not isinstance(answer, AlreadySettled) or holding.verb in {None, verb}:
        raise Illegal(f"{verb.name} raised {answer!r}") from error_of(answer)


def lose(env: Environment, holding: Holding, verb: Verb) -> None:
    """Note that the answer was `LeaseLost`: the holder holds it no more."""
    _note(env, holding, verb, Answer.LOST, 0.0)
    holding.over = True


def require_disturbed(env: Environment, error: BaseException) -> None:
    """Raise `Illegal` for an error that a healthy broker gives no reason for."""
    if not env.disturbed:
        raise Illegal(f"nothing was wrong with the broker, but: {error!r}") from error


def error_of(answer: object) -> BaseException:
    """Return `answer`, which is an error."""
    assert isinstance(answer, BaseException)  # noqa: S101 - the only other answers were handled
    return answer


def expect(answer: object, wanted: type[AckedError] | None, what: str) -> None:
    """Raise `Illegal` unless `what` raised `wanted`, or nothing where that is None."""
    if answer is CANCELLED:
        return
    if wanted is None and answer is not None:
        raise Illegal(f"{what} in the same way is a no-op; it raised {answer!r}")
    if wanted is not None and not isinstance(answer, wanted):
        raise Illegal(f"{what} must raise {wanted.__name__}; the answer was {answer!r}")


def _note(env: Environment, holding: Holding, verb: Verb, answer: Answer, free_at: float) -> None:
    env.model.settled(
        holding.group,
        holding.delivery.body,
        holding.lease,
        verb,
        answer,
        env.now,
        free_at=free_at,
        dead_lettered=env.capabilities.dead_letter,
        again=holding.verb is verb,
    )
