"""Texts as the tables have them, and back.

PostgreSQL's text has no NUL, and ids, keys and media types may: a backslash stands before a NUL,
written 0, and before a backslash. Headers are JSON, which writes both by itself.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from acked.types import NO_HEADERS

__all__ = ("as_it_was", "headers_as_they_were", "kept", "kept_headers")

_decode_headers: Final = msgspec.json.Decoder(dict[str, str]).decode

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def kept_headers(headers: Mapping[str, str]) -> str | None:
    """Return `headers` as the table has them."""
    return msgspec.json.encode(dict(headers)).decode() if headers else None


def headers_as_they_were(text: str | None) -> Mapping[str, str]:
    """Return the headers that the table has as `text`."""
    return NO_HEADERS if text is None else _decode_headers(text)


def kept(text: str) -> str:
    """Return `text` as the table has it."""
    if "\\" not in text and "\0" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def as_it_was(text: str) -> str:
    """Return what the table has as `text`."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: "\0" if found[1] == "0" else found[1], text)
