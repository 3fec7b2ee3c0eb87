"""Which topics a group consumes: those that it names, or whichever match its patterns."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from acked.errors import ConfigurationError

__all__ = ("TopicChoice", "matcher")

_BEGIN: Final = "^"
_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says whether a topic matches: a name, or a regular expression that begins with ^.

    Raises `ConfigurationError` for what is neither.
    """
    if not pattern.startswith(_BEGIN):
        if _NAME.fullmatch(pattern):
            return pattern.__eq__
        raise ConfigurationError(
            f"{pattern!r} is neither a name nor a pattern of topics on Kafka: write a regular "
            r"expression that begins with ^, as '^orders\.' for all whose names begin so"
        )
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"{pattern!r} is no regular expression: {error}") from error
    return lambda topic: expression.match(topic) is not None


class TopicChoice:
    """Chooses among the topics that there are."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Final = tuple(dict.fromkeys(names))
        self._matchers = [matcher(name) for name in self.names]
        self.is_open: Final = any(name.startswith(_BEGIN) for name in self.names)
        """Whether topics that are made later may be among them."""

    def among(self, there: Iterable[str]) -> Sequence[str]:
        """Return which of those that are `there` it chooses, by their names."""
        return sorted(name for name in there if any(one(name) for one in self._matchers))
