"""Headers as a table has them: a JSON object of texts, in one column."""

from collections.abc import Mapping
from typing import Final

import msgspec

from acked.types import NO_HEADERS

__all__ = ("column_of", "headers_in")

UNREADABLE: Final = "acked-headers"
"""The header that has what stands in the column instead of headers."""

_decode: Final = msgspec.json.Decoder(dict[str, str]).decode


def column_of(headers: Mapping[str, str]) -> str | None:
    """Return `headers` as stored; raise `UnicodeEncodeError` for what UTF-8 cannot carry."""
    return msgspec.json.encode(dict(headers)).decode() if headers else None


def headers_in(column: str | None) -> Mapping[str, str]:
    """Return the headers in `column`; whoever else writes to the table stops no reader by it."""
    if not column:
        return NO_HEADERS
    try:
        return _decode(column)
    except (msgspec.MsgspecError, UnicodeError):
        return {UNREADABLE: column}
