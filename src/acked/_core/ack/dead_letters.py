"""What a dead letter looks like: the original's bytes, and where they came from in headers."""

import time
from typing import Final

import msgspec

from acked.types import Leased, Record

__all__ = ("PREFIX", "dead_letter")

PREFIX: Final = "acked-"
"""Of every header a dead letter has beyond the original's own."""


def dead_letter(leased: Leased, topic: str, *, group: str, reason: str) -> Record:
    """Return the copy of `leased` to publish to `topic`: byte-identical, with the original's id.

    Headers beyond the original's own: `acked-topic`, `acked-group`, `acked-id`, `acked-position`,
    `acked-attempt`, `acked-reason`, `acked-published` and `acked-died` (seconds since the epoch).
    """
    record = leased.record
    story = {
        "topic": record.topic,
        "group": group,
        "id": record.id,
        "position": leased.position,
        "attempt": str(leased.attempt),
        "reason": reason,
        "published": repr(record.timestamp),
        "died": repr(time.time()),
    }
    headers = dict(record.headers) | {PREFIX + name: text for name, text in story.items()}
    return msgspec.structs.replace(record, topic=topic, headers=headers)
