"""What an outbox and an inbox ask of a database: rows, and who keeps them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

from acked.types import Record

__all__ = (
    "PAGE_BYTES",
    "PAGE_ROWS",
    "InboxStore",
    "Moved",
    "OutboxRow",
    "OutboxSource",
    "OutboxStatus",
    "OutboxStore",
)

PAGE_ROWS: Final = 500
PAGE_BYTES: Final = 8 * 1024 * 1024
"""Of the bodies of a page, but for the last one."""


class OutboxRow(NamedTuple):
    """A message that is to be published, and where it stands."""

    slot: int
    seq: int
    topic: str
    id: str
    key: str | None
    headers: Mapping[str, str]
    content_type: str
    body: bytes
    refused_for: float
    """Seconds since a broker refused it for the first time; 0 if none has."""


class Moved(NamedTuple):
    """What became of a page: what is neither published nor refused stays as it is."""

    published: Sequence[OutboxRow]
    refused: Sequence[tuple[OutboxRow, str]]
    """With the reason; to be tried again."""
    set_aside: Sequence[tuple[OutboxRow, str]]
    """With the reason; not to be tried again by itself."""


class OutboxStatus(NamedTuple):
    """How many wait, for how many seconds the oldest has, and how many were set aside."""

    waiting: int
    oldest: float
    set_aside: int


class OutboxSource(Protocol):
    """The rows of an outbox as one relay gets them; used by one task."""

    def page(self) -> AbstractAsyncContextManager[Sequence[OutboxRow]]:
        """Keep the next rows from other relays while entered; none where there are none for us.

        Within a key they are in order, and nothing is left out that is before one of them.
        """
        ...

    async def settle(self, moved: Moved) -> None:
        """Delete what was published, and note what was not; within `page`."""
        ...

    async def wait(self) -> None:
        """Return when there may be more, or after a while."""
        ...


class OutboxStore(Protocol):
    """The table of an outbox. Whatever the database raises is a `LayerError`."""

    async def prepare(self) -> None:
        """Make the table, or see that it is there."""
        ...

    async def put(self, connection: object, record: Record) -> int:
        """Put `record` in, within the transaction of `connection`; return its number.

        Raises `ConfigurationError` for what is no connection, or in no transaction.
        """
        ...

    def relaying(self) -> AbstractAsyncContextManager[OutboxSource]:
        """Connect a relay."""
        ...

    async def status(self) -> OutboxStatus:
        """Count."""
        ...

    async def retry(self) -> int:
        """Let what was set aside be tried again; return how many."""
        ...


class InboxStore(Protocol):
    """The table of an inbox. Whatever the database raises is a `LayerError`."""

    async def prepare(self) -> None:
        """Make the table, or see that it is there."""
        ...

    async def mark(self, connection: object, group: str, topic: str, message: str) -> bool:
        """Mark the message of that id in the transaction of `connection`, unless it is marked.

        Returns whether it was not.
        """
        ...

    async def purge_page(self, keep: float) -> bool:
        """Delete some marks that are older than `keep` seconds; return whether there are more."""
        ...
