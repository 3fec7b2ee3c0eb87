"""What a subscriber is handed on a fire-and-forget layer: a record and the gap before it."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from acked.types import Gap, Record

__all__ = ("Message",)

T = TypeVar("T")


class Message(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """News: a body, and what travelled with it. There is nothing to settle.

    `gap` tells of messages that may have been missed just before this one; None when none was.
    """

    body: T
    record: Record
    gap: Gap | None = None

    def __repr__(self) -> str:
        gap = f", after {self.gap}" if self.gap else ""
        return f"<Message {self.record.id!r} of {self.record.topic!r}{gap}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no more than `repr` does; msgspec's own would show the body."""
        return [("id", self.id), ("topic", self.topic), ("gap", self.gap)]

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.record.topic

    @property
    def id(self) -> str:
        """The publisher's id of the message, unique among all messages."""
        return self.record.id

    @property
    def key(self) -> str | None:
        """What groups messages whose order matters."""
        return self.record.key

    @property
    def headers(self) -> Mapping[str, str]:
        """Text that travels beside the body."""
        return self.record.headers

    @property
    def timestamp(self) -> float:
        """When it was published, in seconds since the epoch, by the publisher's clock."""
        return self.record.timestamp
