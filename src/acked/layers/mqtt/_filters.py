"""Topic filters of MQTT: `+` is one level, `#` at the end is all levels from there on.

Rules (MQTT 5, 4.7):

1. A wildcard stands alone in its level: `a/+/b` and `a/#`, not `a+` nor `a/#/b`. `a/#` has `a` too.
2. A filter that begins with a wildcard does not match topics that begin with `$`.
3. Everything else matches itself, byte for byte: there is no escaping.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from acked.errors import ConfigurationError

__all__ = ("checked_filter", "has_wildcards", "matcher", "matches_any", "without_covered")

TOPICS_REMEMBERED: Final = 4096


def has_wildcards(name: str) -> bool:
    """Say whether `name` is more than a topic."""
    return "+" in name or "#" in name


def checked_filter(pattern: str) -> str:
    """Return `pattern` if MQTT knows it as a filter, else raise `ConfigurationError`."""
    levels = pattern.split("/")
    wrong = [one for one in levels if has_wildcards(one) and one not in {"+", "#"}]
    if wrong or "#" in levels[:-1]:
        raise ConfigurationError(
            f"{pattern!r} is no topic filter of MQTT: '+' stands for one whole level, as in "
            "'a/+/b', and '#' for all the rest, at the end, as in 'a/#'"
        )
    if pattern.startswith("$share/"):
        raise ConfigurationError(
            f"{pattern!r}: give the filter alone; shared=True makes the group share it"
        )
    return pattern


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return the function that says whether a topic's name matches `pattern`."""
    levels = pattern.split("/")
    return lambda topic: _matches(levels, topic.split("/"))


def matches_any(filters: Iterable[str]) -> Callable[[str], bool]:
    """Return the function that says whether a topic's name matches one of `filters`."""
    several = list(filters)
    names = frozenset(one for one in several if not has_wildcards(one))
    patterns = [one.split("/") for one in several if has_wildcards(one)]
    if not patterns:
        return names.__contains__

    @lru_cache(TOPICS_REMEMBERED)
    def matches(topic: str) -> bool:
        levels = topic.split("/")
        return topic in names or any(_matches(pattern, levels) for pattern in patterns)

    return matches


def without_covered(filters: Iterable[str]) -> list[str]:
    """Return `filters` without those of which another one has every topic.

    A broker may send a message once for each filter that it matches.
    """
    several = [one.split("/") for one in dict.fromkeys(filters)]
    return [
        "/".join(one)
        for one in several
        if not any(other is not one and _matches(other, one) for other in several)
    ]


def _matches(pattern: list[str], levels: list[str]) -> bool:
    return not (levels[0].startswith("$") and pattern[0] in {"+", "#"}) and _covers(pattern, levels)


def _covers(pattern: list[str], other: list[str]) -> bool:
    """Say whether `pattern` matches all that `other` does, a topic or a filter; rule 2 apart."""
    for place, level in enumerate(pattern):
        if level == "#":
            return True
        if place == len(other) or other[place] == "#" or level not in {"+", other[place]}:
            return False
    return len(pattern) == len(other)
