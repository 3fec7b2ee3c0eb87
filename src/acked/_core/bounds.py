"""What travels beside a body has bounds: refused at `publish`, and never handed on from the wire.

Without them a few hundred messages with large metadata fill a consumer's memory: a header of four
bytes takes two hundred as objects. What arrives may have a little more than what may be published,
since a dead letter says more than its original.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from acked.types import MAX_TOPIC_BYTES, NO_HEADERS, Record

__all__ = (
    "MAX_ID",
    "beyond_bounds",
    "cut_to_bounds",
    "is_within_bounds",
    "shown",
    "what_is_beyond_bounds",
)

MAX_ID: Final = 255
"""Characters of an id, and of a content type."""
MAX_KEY: Final = 4096
"""Characters of a key."""
MAX_HEADERS: Final = 256
MAX_HEADER_NAME: Final = 1024
"""Characters of one header's name."""
MAX_HEADER_TEXT: Final = 64 * 1024
"""Characters of all headers of one message, names and values."""

LETTER_HEADERS: Final = 16
"""How many more a message may have when it arrives: those of a dead letter."""
LETTER_TEXT: Final = 8 * 1024
"""Characters that these may take."""

CUT: Final = "acked-cut"
"""The header that names what was left out."""
KEPT: Final = 64
"""Characters that are kept of what is too long."""


def is_within_bounds(record: Record) -> bool:
    """Say whether `record` may be handed on as it arrived. It runs for every message."""
    if len(record.id) > MAX_ID or len(record.content_type) > MAX_ID:
        return False
    if record.key is None and record.headers is NO_HEADERS:
        return len(record.topic) <= MAX_TOPIC_BYTES
    return not any(beyond_bounds(record, LETTER_HEADERS, LETTER_TEXT))


def what_is_beyond_bounds(record: Record) -> str:
    """Return what of `record`, as it arrived, is over its bound; nothing of its words."""
    return ", ".join(beyond_bounds(record, LETTER_HEADERS, LETTER_TEXT))


def beyond_bounds(record: Record, headers: int = 0, text: int = 0) -> Iterator[str]:
    """Give what of `record` is over its bound, with both numbers and without its words.

    `headers` and `text` are what its headers may have beyond what can be published.
    """
    for what, given, most in (
        ("topic", record.topic, MAX_TOPIC_BYTES),
        ("id", record.id, MAX_ID),
        ("key", record.key or "", MAX_KEY),
        ("content type", record.content_type, MAX_ID),
    ):
        if len(given) > most:
            yield f"{what} of {len(given)} characters ({most} is the most)"
    if record.headers:
        yield from _headers_beyond(record.headers, MAX_HEADERS + headers, MAX_HEADER_TEXT + text)


def cut_to_bounds(record: Record) -> Record:
    """Return `record` with its body as it is, and beside it what is within bounds.

    Headers are left out together; of what is too long else the beginning stays. The header
    `acked-cut` says what was cut, and how much it was.
    """
    allowed = MAX_HEADERS + LETTER_HEADERS, MAX_HEADER_TEXT + LETTER_TEXT
    is_cut = any(_headers_beyond(record.headers, *allowed))
    return msgspec.structs.replace(
        record,
        topic=_short(record.topic, MAX_TOPIC_BYTES),
        id=_short(record.id, MAX_ID),
        key=None if record.key is None else _short(record.key, MAX_KEY),
        content_type=_short(record.content_type, MAX_ID),
        headers={**(NO_HEADERS if is_cut else record.headers), CUT: what_is_beyond_bounds(record)},
    )


def shown(name: str) -> str:
    """Return `name`, a publisher's word, as long as a log or an error may quote it."""
    return _short(name, MAX_ID)


def _headers_beyond(headers: Mapping[str, str], count: int, text: int) -> Iterator[str]:
    if len(headers) > count:
        yield f"{len(headers)} headers ({count} is the most)"
        return
    longest = max(map(len, headers), default=0)
    if longest > MAX_HEADER_NAME:
        yield f"header's name of {longest} characters ({MAX_HEADER_NAME} is the most)"
    size = sum(map(len, headers)) + sum(map(len, headers.values()))
    if size > text:
        yield f"headers of {size} characters ({text} is the most)"


def _short(given: str, most: int) -> str:
    return given if len(given) <= most else given[:KEPT]
