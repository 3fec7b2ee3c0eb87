"""What makes a test method a law: an id, the flags it needs, and a visible verdict without them.

A law is a method whose name is the claim and whose docstring gives the reason. It is *tried* where
the layer claims what the law needs; otherwise it is skipped with the words `not claimed`, or, where
the harness lacks a hook, `not tried`. What a layer must then refuse is a law of its own, with
`unless=`.
"""

import asyncio
import functools
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import anyio
import msgspec
import pytest

from acked import CapabilityError, Channel, ConfigurationError
from acked.conformance.harness import Harness
from acked.types import Capabilities

__all__ = ("Law", "law", "law_of", "remark", "require_the_same_layer", "soon", "take_remarks")

F = TypeVar("F", bound=Callable[..., Awaitable[None]])

_ATTRIBUTE: Final = "__acked_law__"

_remarks: Final[list[str]] = []

_harness: ContextVar[Harness] = ContextVar("harness of the law that is tried")


class Law(msgspec.Struct, frozen=True):
    """Which law a test method is, and when it is tried."""

    ids: tuple[str, ...]
    needs: tuple[str, ...]
    """Capabilities, as `nack` or `lease=timer`: all of them must be claimed."""
    unless: tuple[str, ...]
    """Capabilities none of which may be claimed: the negative laws."""
    hooks: tuple[str, ...]
    """Hooks of the harness, or `url`; of `busy` and `forbid` which call: `busy settle`."""

    def reason_not_to_try(self, harness: Harness, capabilities: Capabilities) -> str | None:
        """Return why this law is not tried on this layer with this harness; None if it is."""
        missing = [claim for claim in self.needs if not _claims(capabilities, claim)]
        if missing:
            return f"not claimed: {', '.join(missing)}"
        present = [claim for claim in self.unless if _claims(capabilities, claim)]
        if present:
            return f"does not apply: the layer claims {', '.join(present)}"
        lacking = [words for hook in self.hooks if (words := _lacking(harness, hook))]
        if lacking:
            return f"not tried: the harness has no {', '.join(lacking)}"
        return None


def law(
    *ids: str,
    needs: tuple[str, ...] = (),
    unless: tuple[str, ...] = (),
    hooks: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Make the async test method beneath it a law; its second argument is named `harness`."""
    described = Law(ids, needs, unless, hooks)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        async def tried(self: Any, harness: Harness, **fixtures: Any) -> None:
            reason = described.reason_not_to_try(harness, harness.layer().capabilities)
            if reason is not None:
                pytest.skip(reason)
            if "url" in described.hooks and harness.url is not None:
                require_the_same_layer(harness, harness.url)
            token = _harness.set(harness)
            _tell_noise_apart(harness)
            try:
                with anyio.fail_after(harness.limit):
                    await function(self, harness, **fixtures)
            finally:
                _harness.reset(token)

        setattr(tried, _ATTRIBUTE, described)
        return tried  # type: ignore[return-value]

    return decorate


def remark(words: str) -> None:
    """Say what a verdict rests on: it stands beside it in the report."""
    _remarks.append(words)


def take_remarks() -> list[str]:
    """Return, once, what was remarked."""
    taken = list(_remarks)
    _remarks.clear()
    return taken


def require_the_same_layer(harness: Harness, url: str) -> None:
    """Raise `ConfigurationError` if a child process that opens `url` would try another layer."""
    meant: type[object] = type(harness.layer())
    try:
        found: type[object] = type(Channel.from_url(url).layer)
    except CapabilityError:
        found = type(Channel.from_url(url, fire_and_forget=True).layer)
    if found is not meant:
        raise ConfigurationError(
            f"the harness's url opens a {found.__name__}, and the layer under test is a "
            f"{meant.__name__}: its children would try another layer; give the url of this one, "
            "or None"
        )


def _tell_noise_apart(harness: Harness) -> None:
    """Let what a client library forgot to look at be remarked, and break no law.

    Test runners fail for whatever reaches the loop's exception handler. What the layer or the
    engine has a part in still does.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # no loop of asyncio runs here
        return
    ours = {"acked", type(harness.layer()).__module__.partition(".")[0]}
    before = loop.get_exception_handler() or type(loop).default_exception_handler

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or "never retrieved" not in context["message"] or _is_of(error, ours):
            before(loop, context)
        else:
            remark(f"noise of a client: {type(error).__name__}, {context['message']}")

    loop.set_exception_handler(note)  # for good: it may be told when the law has ended


def _is_of(error: BaseException, packages: set[str]) -> bool:
    """Say whether `error` was raised by, or went through, one of `packages`."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(
        frame.f_globals.get("__name__", "").partition(".")[0] in packages for frame in frames
    )


def soon() -> float:
    """Return the seconds that bound the wait for something that must happen in this law."""
    return _harness.get().soon


def law_of(function: object) -> Law | None:
    """Return the law that a test method is, if it is one."""
    return getattr(function, _ATTRIBUTE, None)


def _lacking(harness: Harness, hook: str) -> str | None:
    """Return `hook`, with the reason if there is one, where the harness does not give it."""
    name = hook.partition(" ")[0]
    reason = harness.lacks.get(hook) or harness.lacks.get(name)
    if reason is None:
        return hook if getattr(harness, name) is None else None
    return f"{hook}: {reason}"


def _claims(capabilities: Capabilities, claim: str) -> bool:
    name, _, value = claim.partition("=")
    found = getattr(capabilities, name)
    return found == value if value else bool(found)
