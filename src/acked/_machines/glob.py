"""Topic patterns: the globs that Redis matches channels by, as the reference for every layer.

Rules, on the UTF-8 bytes of both sides (a name that is no UTF-8 comes with `surrogateescape`):

1. `*` matches any bytes, none too; `?` exactly one byte.
2. `[abc]`, `[a-c]` match one byte of the set, `[^a-c]` one outside of it. A range may be given
   backwards. A set that is not closed ends with the pattern.
3. A backslash takes the next byte for itself, within a set too.
4. Everything else matches itself.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ("glob",)

_ANY: Final = frozenset(range(256))

_Step: TypeAlias = frozenset[int] | None
"""The bytes that may stand at one place; None is a star."""


def glob(pattern: str) -> Callable[[str], bool]:
    """Return the function that says whether a topic's name matches `pattern`."""
    steps = _parsed(pattern.encode())
    return lambda name: _matches(steps, name.encode("utf-8", "surrogateescape"))


def _parsed(pattern: bytes) -> list[_Step]:
    steps: list[_Step] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == ord("*"):
            if not steps or steps[-1] is not None:
                steps.append(None)
        elif byte == ord("?"):
            steps.append(_ANY)
        elif byte == ord("["):
            found, at = _set(pattern, at)
            steps.append(found)
        else:
            if byte == ord("\\") and at < len(pattern):
                byte = pattern[at]
                at += 1
            steps.append(frozenset({byte}))
    return steps


def _set(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """Return the bytes of the set whose members begin at `at`, and where the pattern goes on."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    members: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            members.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.update(range(low, high + 1))
            at += 3
        else:
            members.add(pattern[at])
            at += 1
    return (_ANY - members if negated else frozenset(members)), at + 1


def _matches(steps: list[_Step], name: bytes) -> bool:
    """Try the steps in turn; where one fails, let the last star swallow one byte more."""
    step = at = 0
    star = resume = -1
    while at < len(name):
        wanted = steps[step] if step < len(steps) else frozenset[int]()
        if wanted is None:
            star, resume = step, at
            step += 1
        elif name[at] in wanted:
            step += 1
            at += 1
        elif star >= 0:
            resume += 1
            step, at = star + 1, resume
        else:
            return False
    return all(rest is None for rest in steps[step:])
