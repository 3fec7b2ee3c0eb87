"""Dead letters that fit: what is left out of one that the broker finds too large."""

from typing import Final

import msgspec

from acked.types import Record

__all__ = ("BODY_AT", "shortened")

BODY_AT: Final = "acked-body-at"
"""The header that says where the body was left: `topic/partition:offset` of the original."""
_STORY: Final = "acked-"
_MOST: Final = 1000
"""Characters of a header of the story, such as the reason, when room is short."""


def shortened(letter: Record) -> Record | None:
    """Return `letter` without what matters least of what it has; None if nothing is left to cut.

    First the original's own headers go, and what is long of the reason; then the body, which is
    left where it was, and named.
    """
    story = {name: text[:_MOST] for name, text in letter.headers.items() if name.startswith(_STORY)}
    if story != dict(letter.headers):
        return msgspec.structs.replace(letter, headers=story)
    if BODY_AT in story:
        return None
    place = f"{story.get('acked-topic', '')}/{story.get('acked-position', '')}"
    return msgspec.structs.replace(letter, body=b"", headers=story | {BODY_AT: place})
