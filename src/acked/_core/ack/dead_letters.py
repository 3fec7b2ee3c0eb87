"""What a dead letter looks like: the original's bytes, and where they came from in headers."""

import time
from collections.abc import Mapping
from typing import Final

import msgspec

from acked.types import NO_HEADERS, Leased, Record

__all__ = ("PREFIX", "SMALLEST", "dead_letter")

PREFIX: Final = "acked-"
"""Of every header a dead letter has beyond the original's own."""

REASON: Final = 1000
"""Characters of a reason that are kept."""
SHORT: Final = 100
"""The same where the letter was refused."""
SMALLEST: Final = 3
"""The most that can be cut: the reason (1), the original's headers (2), its body (3)."""


def dead_letter(leased: Leased, topic: str, *, group: str, reason: str, cut: int = 0) -> Record:
    """Return the copy of `leased` to publish to `topic`: byte-identical, with the original's id.

    Headers beyond the original's own: `acked-topic`, `acked-group`, `acked-id`, `acked-position`,
    `acked-attempt`, `acked-reason`, `acked-published` and `acked-died` (seconds since the epoch).
    A copy is larger than its original, and may be refused for that. `cut` says how much is left
    out, which `acked-cut` names: `acked-position` says where the whole message was.
    """
    record = leased.record
    story = {
        "topic": record.topic,
        "group": group,
        "id": record.id,
        "position": leased.position,
        "attempt": str(leased.attempt),
        "reason": fitting(reason, SHORT if cut else REASON),
        "published": repr(record.timestamp),
        "died": repr(time.time()),
    }
    own: Mapping[str, str] = record.headers
    if cut >= 2:
        own = NO_HEADERS
        story["cut"] = f"{len(record.headers)} headers"
    if cut >= SMALLEST:
        story["cut"] += f", {len(record.body)} bytes of body"
        record = msgspec.structs.replace(record, body=b"")
    headers = dict(own) | {PREFIX + name: text for name, text in story.items()}
    return msgspec.structs.replace(record, topic=topic, headers=headers)


def fitting(reason: str, most: int) -> str:
    """Return `reason` as any broker can carry it: no longer than `most`, and valid as UTF-8."""
    if len(reason) > most:
        reason = reason[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return reason.encode(errors="replace").decode()
