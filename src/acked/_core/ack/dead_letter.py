"""One dead letter as its topic keeps it, and the original that it was."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from acked._core.ack.dead_letter_headers import own_headers, story_of
from acked.types import KeptRecord, Record

__all__ = ("DeadLetter", "letter_from", "may_be_replayed", "original_of")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter as its topic keeps it: the original, and what became of it.

    `id`, `key`, `headers`, `content_type`, `body` and `published` are the original's. Times are
    seconds since the epoch. Of what somebody else published to the topic, `topic` is empty.
    """

    topic: str
    """Where the original was; empty where nobody says so."""
    group: str
    """Whose consumer gave it up."""
    id: str
    position: str
    """Where the broker keeps the letter."""
    original_position: str
    attempt: int | None
    """How often it had been delivered; None where nobody says so."""
    reason: str
    error: str
    """The class of the exception; empty where it was none."""
    consumer: str
    """Host and process of the consumer that gave it up."""
    published: float
    died: float | None
    cut: str
    """What was left out of the letter, for it was too large; it is not replayed."""
    is_held: bool
    """Whether a consumer of the dead letters has it at the moment."""
    key: str | None
    headers: Mapping[str, str]
    content_type: str
    body: bytes

    def __repr__(self) -> str:
        return f"<DeadLetter {self.id!r} of {self.topic!r}, {len(self.body)} bytes>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no more than `repr` does; msgspec's own would show body, key and headers."""
        return [("id", self.id), ("topic", self.topic), ("bytes", len(self.body))]


def may_be_replayed(letter: DeadLetter, to: str | None) -> bool:
    """Say whether it is known where `letter` came from, and the letter has all of the original."""
    return bool(to or letter.topic) and not letter.cut


def letter_from(kept: KeptRecord) -> DeadLetter:
    """Return the letter that `kept` is, whoever wrote it."""
    record = kept.record
    told = story_of(record.headers)
    return DeadLetter(
        topic=told.get("topic", ""),
        group=told.get("group", ""),
        id=record.id,
        position=kept.position,
        original_position=told.get("position", ""),
        attempt=_number(told.get("attempt"), int),
        reason=told.get("reason", ""),
        error=told.get("error", ""),
        consumer=told.get("consumer", ""),
        published=record.timestamp,
        died=_number(told.get("died"), float),
        cut=told.get("cut", ""),
        is_held=kept.is_held,
        key=record.key,
        headers=own_headers(record.headers),
        content_type=record.content_type,
        body=record.body,
    )


def original_of(letter: DeadLetter, to: str | None) -> Record:
    """Return the record that `letter` was, for the topic `to` or where it came from."""
    return Record(
        to or letter.topic,
        letter.body,
        letter.id,
        letter.key,
        letter.headers,
        letter.content_type,
        letter.published,
    )


def _number(text: str | None, kind: Callable[[str], Any]) -> Any:
    """Return `text` as a number: anybody may have written it."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
