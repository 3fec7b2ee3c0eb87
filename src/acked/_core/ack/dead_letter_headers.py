"""The story of a dead letter, in headers beside the original's own; written and taken off again.

An original may have headers of the same names: it was a dead letter before. Each of these gets one
`acked-` more, and loses it again when it is restored, however often it dies.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from acked.types import NO_HEADERS

__all__ = ("PREFIX", "Reason", "own_headers", "story_of", "with_story", "without_stories")

PREFIX: Final = "acked-"
"""Of every header a dead letter has beyond the original's own."""

CUT: Final = f"{PREFIX}cut"
_NAMES: Final = (
    *("topic", "group", "id", "position", "attempt", "reason", "error", "consumer"),
    *("published", "died"),
)
_STORY: Final = re.compile(f"(?:{PREFIX})+(?:{'|'.join(_NAMES)})")


class Reason(msgspec.Struct, frozen=True):
    """Why a message is given up: in words, and the class of the error if it was one."""

    text: str
    error: str = ""

    def __str__(self) -> str:
        return self.text


def with_story(own: Mapping[str, str], story: Mapping[str, str]) -> dict[str, str]:
    """Return `own`, the original's headers, and `story` beside them."""
    kept = {PREFIX + name if _STORY.fullmatch(name) else name: text for name, text in own.items()}
    return kept | {PREFIX + name: text for name, text in story.items()}


def story_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return what `headers` tell of a death, by names without the prefix; nothing of a message."""
    names = (*_NAMES, "cut")
    return {name: headers[PREFIX + name] for name in names if PREFIX + name in headers}


def without_stories(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return `headers` without what they tell of deaths: where there is no room for it."""
    return {name: text for name, text in headers.items() if not _STORY.fullmatch(name)}


def own_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers that the original had."""
    own: dict[str, str] = {}
    for name, text in headers.items():
        if name == CUT:
            continue
        if not _STORY.fullmatch(name):
            own[name] = text
        elif _STORY.fullmatch(inner := name.removeprefix(PREFIX)):
            own[inner] = text
    return own or NO_HEADERS
