"""What a dead letter looks like: the original's bytes, and where they came from in headers."""

import logging
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from acked._core.ack.dead_letter_headers import Reason, with_story, without_stories
from acked._core.ack.in_flight import InFlight
from acked._core.bounds import is_within_bounds
from acked._machines.settlement import State
from acked.types import NO_HEADERS, Leased, Record

__all__ = ("PendingDeadLetters", "dead_letter")

logger = logging.getLogger("acked.subscription")

REASON: Final = 1000
"""Characters of a reason that are kept."""
SHORT: Final = 100
"""The same where the letter was refused."""
SMALLEST: Final = 3
"""The most that can be cut: the reason (1), the original's headers (2), its body (3)."""


class PendingDeadLetters:
    """What was rejected and is not known to be written yet: it stays owed until its copy is.

    A copy that was refused is cut further each time, since a dead letter is larger than its
    original.
    """

    def __init__(self, topic: str | None, group: str) -> None:
        self._topic = topic
        self._group = group
        self._waiting: dict[InFlight, tuple[Reason, int]] = {}
        """Why each was rejected, and by how much its copy is cut."""

    def __contains__(self, entry: InFlight) -> bool:
        return entry in self._waiting

    def letter(self, entry: InFlight, reason: Reason) -> Record | None:
        """Return the copy of `entry` to publish, or None if there is no topic for it."""
        return self._cut_letter(entry, reason, 0)

    def wait_for(self, entry: InFlight, reason: Reason) -> None:
        """Note that the copy of `entry` is on its way, if there is a topic for it."""
        if self._topic is not None:
            self._waiting.setdefault(entry, (reason, 0))

    def refused(self, entry: InFlight) -> None:
        """Note that the broker refused the copy of `entry`."""
        if entry in self._waiting:
            reason, cut = self._waiting[entry]
            self._waiting[entry] = (reason, cut + 1)

    def forget(self, entry: InFlight) -> None:
        """Note that `entry` is to come again instead."""
        self._waiting.pop(entry, None)

    def due(self, is_open: Collection[InFlight]) -> Iterator[tuple[InFlight, Record | None]]:
        """Give what is to be tried again, with its copy; None for what cannot be written at all."""
        self._waiting = {one: why for one, why in self._waiting.items() if one in is_open}
        for entry, (reason, cut) in tuple(self._waiting.items()):
            if entry.state is not State.HELD:
                continue
            name = entry.leased.record.id
            if cut <= SMALLEST:
                logger.warning("message %r: its dead letter failed, it is tried again", name)
                yield entry, self._cut_letter(entry, reason, cut)
            else:
                logger.error("message %r cannot be dead-lettered, it will come again", name)
                del self._waiting[entry]
                yield entry, None

    def _cut_letter(self, entry: InFlight, reason: Reason, cut: int) -> Record | None:
        if self._topic is None:
            return None
        return dead_letter(entry.leased, self._topic, group=self._group, reason=reason, cut=cut)


def dead_letter(leased: Leased, topic: str, *, group: str, reason: Reason, cut: int = 0) -> Record:
    """Return the copy of `leased` to publish to `topic`: byte-identical, with the original's id.

    Headers beyond the original's own: `acked-topic`, `acked-group`, `acked-id`, `acked-position`,
    `acked-attempt`, `acked-reason`, `acked-error` (the class, where it was an exception),
    `acked-consumer` (host and process), `acked-published` and `acked-died` (seconds since the
    epoch). A copy is larger than its original, and may be refused for that. `cut` says how much is
    left out, which `acked-cut` names: `acked-position` says where the whole message was.
    """
    record = leased.record
    story = {
        "topic": record.topic,
        "group": group,
        "id": record.id,
        "position": leased.position,
        "attempt": str(leased.attempt),
        "reason": fitting(reason.text, SHORT if cut else REASON),
        "consumer": fitting(f"{socket.gethostname()}/{os.getpid()}", SHORT),
        "published": repr(record.timestamp),
        "died": repr(time.time()),
    }
    if reason.error:
        story["error"] = fitting(reason.error, SHORT)
    own: Mapping[str, str] = record.headers
    if cut >= 2:
        own = NO_HEADERS
        story["cut"] = f"{len(record.headers)} headers"
    if cut >= SMALLEST:
        story["cut"] += f", {len(record.body)} bytes of body"
        record = msgspec.structs.replace(record, body=b"")
    letter = msgspec.structs.replace(record, topic=topic, headers=with_story(own, story))
    if is_within_bounds(letter):
        return letter
    headers = with_story(without_stories(own), story)  # of several deaths the last one is told
    return msgspec.structs.replace(letter, headers=headers)


def fitting(reason: str, most: int) -> str:
    """Return `reason` as any broker can carry it: no longer than `most`, and valid as UTF-8."""
    if len(reason) > most:
        reason = reason[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return reason.encode(errors="replace").decode()
