"""Debts in a file: a durable queue for the processes of one machine, without a server.

**Semantics** — At-least-once, between any number of processes that open the same file. A topic
keeps a record until every group that owes it has settled it. Publishing makes a record owed to
every group the topic knows; before there is one, everything is kept. A group that is new begins
with whatever is kept (`Start.EARLIEST`), with the kept records from a time on (`Start.at`, by the
record's timestamp), or with what comes next (`Start.LATEST`). Groups and records stay in the file.
A group that nobody consumes any more still owes: what is published for it is kept for ever.

**Ordering** — Total within a topic, in the order in which publishes were committed. What is
delivered again comes in its original place among what is ready. Several topics in one subscription
get equal shares of every batch, none starves.

**Acknowledgement** — Confirmed means committed; with `durability="full"` (the default) it means on
the disk. A lease is a deadline for one message by the wall clock, which the processes share; when
it is over, whether or not another consumer has taken the message, a settlement is LOST. A nack
(with or without a delay) and a lease that ended count as an attempt, a release does not. A dead
letter is published in the transaction that gives up the original. Waiting consumers learn at once
what was published through the same layer, and within `poll` seconds, or a quarter of a second
after a while without news, what was published elsewhere.

**Loses messages when** — The disk does, or somebody deletes the file. With `durability="full"`
what was accepted survives SIGKILL and loss of power (an attempt that was just begun may be
forgotten then, and is not counted); with `"normal"` a loss of power may undo the last
transactions: accepted messages, and acknowledgements, which are then delivered again. Leases
follow a wall clock that is set forward: messages are then delivered twice, never lost.

**Native handle** — The file, `layer.path`: look into it with `sqlite3`, read-only. The tables are
explained in `acked/layers/sqlite_queue/_sql.py`. Removing a group's row from `grp` ends its debts.

**Requires** — Nothing but Python's `sqlite3` with SQLite 3.8.8 or newer, and a local disk: SQLite's
write-ahead log does not work on network file systems. asyncio or trio. Each process opens a layer
of its own, after a fork too. Bodies have at most 16 MiB: store larger content beside the queue.
"""

import math
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time as wall_clock
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import unquote, urlsplit

from anyio import from_thread

from acked.abc import AckFeed
from acked.errors import ConfigurationError, LayerError, PublishFailed
from acked.layers._shared.urls import number, url_options, without_credentials
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._feed import Access, SQLiteQueueFeed
from acked.layers.sqlite_queue._file import Durability, QueueFile, primary_code
from acked.types import Capabilities, Finding, Receipt, Record, Severity, Start

__all__ = ("SQLiteQueueLayer",)

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    persistent=True,
    groups=True,
    competing=True,
    remove_group=True,
    replay=True,
    batch_publish=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    order_after_nack=True,
    order="total",
    lease="timer",
    max_payload=16 * 1024 * 1024,
)


class SQLiteQueueLayer:
    """An ack-capable queue in the file `path`, made if it is missing; its directory is not.

    ```python
    layer = SQLiteQueueLayer("/var/lib/shop/orders.db")
    layer = SQLiteQueueLayer.from_url("sqlite-queue:///var/lib/shop/orders.db?durability=normal")
    ```

    `durability` says what accepted means: `"full"` survives a loss of power, `"normal"` the end of
    any process. `poll` is how often a waiting consumer looks for other processes' news, and
    `busy_timeout` how long to wait while another process writes, both in seconds. `time` is the
    clock of leases and delays: tests give one, and it must be the same in every process. Raises
    `ConfigurationError` for a value out of range, and for `:memory:`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        poll: float = 0.05,
        busy_timeout: float = 5.0,
        time: Callable[[], float] = wall_clock,
    ) -> None:
        self.capabilities: Final = CAPABILITIES
        self.path: Final = _checked_path(path)
        if durability not in {"full", "normal"}:
            raise ConfigurationError(f"durability must be full or normal; not {durability!r}")
        self._poll = _checked_seconds("poll", poll)
        file = QueueFile(
            self.path,
            durability=durability,
            busy_timeout=_checked_seconds("busy_timeout", busy_timeout),
            pause=from_thread.check_cancelled,
        )
        self._access = Access(file, time)

    def __repr__(self) -> str:
        return f"<SQLiteQueueLayer {str(self.path)!r}>"

    @classmethod
    def from_url(cls, url: str) -> "SQLiteQueueLayer":
        """Return a layer for `sqlite-queue:///absolute/path.db` or `sqlite-queue://relative.db`.

        The options are `durability`, `poll` and `busy_timeout`. Raises `ConfigurationError` for
        any other, and for a malformed one.
        """
        options = url_options(url, frozenset({"durability", "poll", "busy_timeout"}))
        parts = urlsplit(url)
        if parts.fragment:
            raise ConfigurationError(f"write %23 for the # in {without_credentials(url)}")
        return cls(
            unquote(parts.netloc + parts.path),
            durability=cast("Durability", options.get("durability", "full")),
            poll=number("poll", options.get("poll", "0.05")),
            busy_timeout=number("busy_timeout", options.get("busy_timeout", "5")),
        )

    async def __aenter__(self) -> Self:
        """Open the file, and make it if it is missing. Raises `LayerError` saying what to do."""
        await self._access.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file; groups and records stay in it."""
        await self._access.close()

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Commit `records` in one transaction; a receipt's position is the number in the file.

        Raises `PublishFailed` naming those that UTF-8 cannot carry (the others are accepted), or
        all of them if the transaction failed.
        """
        self._access.check_open()
        rows, failures = _rows(records)
        numbers = await self._commit(rows, len(records)) if rows else range(0)
        self._access.announce({row[0] for row in rows})
        if failures:
            raise PublishFailed(
                f"{len(failures)} of {len(records)} records were not accepted: an id, a key, a "
                "header or a content type has characters that UTF-8 cannot carry",
                failures,
                indeterminate=False,
            )
        pairs = zip(records, numbers, strict=True)
        return [Receipt(record.id, record.topic, str(number)) for record, number in pairs]

    @asynccontextmanager
    async def consume(
        self,
        topics: Sequence[str],
        group: str,
        *,
        in_flight: int,  # noqa: ARG002 - nothing is fetched ahead
        lease: float,
        start: Start,
    ) -> AsyncGenerator[AckFeed, None]:
        """Join `group`; what is held on leaving is free at once, its attempt charged."""
        feed = SQLiteQueueFeed(
            self._access, dict.fromkeys(topics), group, lease=lease, poll=self._poll
        )
        await feed.join(start)
        try:
            yield feed
        finally:
            await feed.leave()

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`, in one transaction; see `acked.abc.RemovesGroups`."""

        def job() -> None:
            now = self._access.time()
            with self._access.file.transaction() as db:
                held = [name for name in topics if not store.remove(db, name, group, now)]
                if held:  # raised within: rolled back
                    raise LayerError(
                        f"group {group!r} holds messages of {held[0]!r}; close its consumers "
                        "before removing it"
                    )

        await self._access.run(job)

    async def check(self) -> Sequence[Finding]:
        """Say what the file promises, and which SQLite keeps it."""
        return [
            Finding(
                "persistence",
                value=True,
                severity=Severity.OK,
                message="each publish and each ack is on disk when it returns, as far as the disk "
                "tells the truth; keep the file on a local disk, SQLite locks no network share",
            ),
            Finding(
                "server_version",
                value=sqlite3.sqlite_version,
                severity=Severity.OK,
                message="the SQLite of this Python",
            ),
        ]

    async def _commit(self, rows: Sequence[store.Row], asked: int) -> range:
        def job() -> range:
            with self._access.file.transaction() as db:
                return store.publish(db, rows)

        try:
            return await self._access.run(job)
        except LayerError as error:
            uncertain = primary_code(error.__cause__) == sqlite3.SQLITE_IOERR
            failures: dict[int, Exception] = dict.fromkeys(range(asked), error)
            raise PublishFailed(str(error), failures, indeterminate=uncertain) from error


def _rows(records: Sequence[Record]) -> tuple[list[store.Row], dict[int, Exception]]:
    rows: list[store.Row] = []
    failures: dict[int, Exception] = {}
    for index, record in enumerate(records):
        try:
            rows.append(store.row_of(record))
        except UnicodeEncodeError:
            failures[index] = LayerError("it has characters that UTF-8 cannot carry")
    return rows, failures


def _checked_path(path: str | os.PathLike[str]) -> Path:
    words = os.fspath(path)
    if words in {"", ":memory:"}:
        raise ConfigurationError(
            f"the path {words!r} names no file that processes could share; give a path, or use "
            "MemoryQueueLayer within one process"
        )
    return Path(words).absolute()


def _checked_seconds(name: str, seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} must be more than 0 seconds and finite; not {seconds}")
    return seconds
