r"""How a record travels in the one text that a NOTIFY carries.

```text
acked:t["id",1700000000.25]\nthe body, which is UTF-8 text without NUL
acked:b["id",1700000000.25,"image/png","key",{"header":"text"}]\nthe body, in base64
```

Rules:

1. A payload starts with `acked:`, then `t` (text) or `b` (base64), then a JSON array on one line:
   id, timestamp, content type, key, headers. Trailing ones may be left out; the content type is
   `application/json` then, the key null, the headers none. Behind the first line feed: the body.
2. Whatever does not read like that is somebody else's: the whole text is the body. So anybody
   can take part with `NOTIFY topic, 'text'`, and nothing that arrives is an error.
3. Everything we send has its id, since PostgreSQL delivers identical payloads of one transaction
   only once.
4. A payload has at most 7999 bytes. A text body costs its own bytes, any other four thirds.
"""

import binascii
import itertools
import secrets
import time
from typing import Final

import msgspec

from acked.errors import ConfigurationError, MessageTooLarge
from acked.types import NO_HEADERS, Record

__all__ = (
    "LARGEST_BODY",
    "MAX_NAME",
    "MAX_PAYLOAD",
    "Unpacker",
    "check_names",
    "pack",
    "pack_bare",
)

MAX_NAME: Final = 63
"""Bytes of a channel's name; PostgreSQL cuts a longer one off, and nothing ever arrives."""

MAX_PAYLOAD: Final = 7999
"""Bytes of a NOTIFY's payload; the server refuses 8000."""

_TEXT: Final = "acked:t"
_BASE64: Final = "acked:b"
_MARK: Final = len(_TEXT)
_NUL: Final = 0
_DEFAULT_CONTENT: Final = "application/json"
FOREIGN_CONTENT: Final = "text/plain; charset=utf-8"

LARGEST_BODY: Final = MAX_PAYLOAD - len(_TEXT + '["",0.0]' + "\n")


class _NotifyHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    id: str
    timestamp: float
    content_type: str = _DEFAULT_CONTENT
    key: str | None = None
    headers: dict[str, str] | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_NotifyHeader).decode


def check_names(topics: frozenset[str]) -> None:
    """Raise `ConfigurationError` for a name that PostgreSQL would refuse or cut off."""
    for topic in topics:
        size = len(topic.encode())
        if size > MAX_NAME:
            raise ConfigurationError(
                f"topic {topic[:40]!r}... has {size} bytes; PostgreSQL's channels have at most "
                f"{MAX_NAME}: choose a shorter name"
            )


def pack(record: Record) -> str:
    """Return the payload that carries `record`; `MessageTooLarge` if it does not fit."""
    head, body = _head(record), record.body
    room = MAX_PAYLOAD - _MARK - len(head) - len("\n")
    if _NUL not in body:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            pass
        else:
            if len(body) > room:
                raise _too_large(record, room)
            return f"{_TEXT}{head.decode()}\n{text}"
    encoded = binascii.b2a_base64(body, newline=False)
    if len(encoded) > room:
        raise _too_large(record, room // 4 * 3)
    return f"{_BASE64}{head.decode()}\n{encoded.decode()}"


def pack_bare(record: Record) -> str:
    """Return the body alone, if it is text and nothing travels beside it; else what `pack` does."""
    body = record.body
    alone = record.key is None and not record.headers and not body.startswith(b"acked:")
    if alone and _NUL not in body:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            pass
        else:
            if len(body) > MAX_PAYLOAD:
                raise _too_large(record, MAX_PAYLOAD)
            return text
    return pack(record)


def _too_large(record: Record, limit: int) -> MessageTooLarge:
    return MessageTooLarge(record.topic, len(record.body), max(0, limit))


def _head(record: Record) -> bytes:
    """Return the shortest head: rule 1."""
    if record.headers:
        headers = dict(record.headers)
        whole = (record.id, record.timestamp, record.content_type, record.key, headers)
        return _encode(whole)
    if record.key is not None:
        return _encode((record.id, record.timestamp, record.content_type, record.key))
    if record.content_type != _DEFAULT_CONTENT:
        return _encode((record.id, record.timestamp, record.content_type))
    return _encode((record.id, record.timestamp))


class Unpacker:
    """Makes records of payloads; those of others get ids, which are this process's own."""

    def __init__(self) -> None:
        self._prefix: Final = f"notify-{secrets.token_hex(8)}"
        self._numbers: Final = itertools.count(1)

    def unpack(self, topic: str, payload: str) -> Record:
        """Return the record in `payload`; raises nothing, whatever was sent."""
        first, line_feed, text = payload.partition("\n")
        if line_feed and first.startswith((_TEXT, _BASE64)):
            try:
                head = _decode(first[_MARK:])
                if first.startswith(_TEXT):
                    body = text.encode()
                else:
                    body = binascii.a2b_base64(text, strict_mode=True)
            except (msgspec.MsgspecError, ValueError):
                pass  # somebody else's that looks like ours
            else:
                headers = head.headers or NO_HEADERS
                name = head.id or self._made_up()
                return Record(
                    topic, body, name, head.key, headers, head.content_type, head.timestamp
                )
        raw, now = payload.encode(), time.time()
        return Record(topic, raw, self._made_up(), content_type=FOREIGN_CONTENT, timestamp=now)

    def _made_up(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"
