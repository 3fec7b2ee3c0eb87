"""Dead letters that fit: what is left out of one that the broker finds too large."""

from typing import Final

import msgspec

from acked.types import Record

__all__ = ("BODY_AT", "encodable", "shortened")

BODY_AT: Final = "acked-body-at"
"""The header that says where the body was left: `topic/partition:offset` of the original."""
_STORY: Final = "acked-"
_MOST: Final = 1000
"""Characters of a header of the story, such as the reason, when room is short."""


def encodable(letter: Record) -> Record:
    r"""Return `letter` with whatever is no Unicode written out: a reason may have any text.

    What came off the wire as bytes that are no UTF-8 leaves as it came; in the names of headers,
    where Kafka's client takes text only, it is written out, too (`\\udcff`).
    """
    headers = {_written_out(name): _any_bytes(text) for name, text in letter.headers.items()}
    key = letter.key if letter.key is None else _any_bytes(letter.key)
    return msgspec.structs.replace(letter, headers=headers, key=key, id=_any_bytes(letter.id))


def _written_out(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _any_bytes(text: str) -> str:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _written_out(text)
    return text


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
