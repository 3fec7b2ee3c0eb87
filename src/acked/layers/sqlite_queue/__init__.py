"""Debts in a file: a durable queue for the processes of one machine, without a server.

**Semantics** — At-least-once, between any number of processes that open the same file. A topic
keeps a record until every group that owes it has settled it. Publishing makes a record owed to
every group the topic knows; before there is one, everything is kept. A group that is new begins
with whatever is kept (`Start.EARLIEST`), with the kept records from a time on (`Start.at`, by the
record's timestamp), or with what comes next (`Start.LATEST`). Groups and records stay in the file.
A group that nobody consumes any more still owes: what is published for it is kept for ever, until
it is removed; a listener of `fire_and_forget` that was killed is removed after five minutes, by
whoever publishes or consumes then. Free room is given back to the disk, but for 4 MiB.

**Ordering** — Total within a topic, in the order in which publishes were committed. What is
delivered again comes in its original place among what is ready; what was published with a priority
comes before what has a lower one. Several topics in one subscription get equal shares of every
batch, none starves. With `ordered_by="key"` one message of a key is
leased in a group at a time, the earliest, by whichever process; what comes after it is parked and
costs nobody else. A process that waits for a key another one holds learns within a quarter second.

**Acknowledgement** — Confirmed means committed; with `durability="full"` (the default) it means on
the disk. A lease is a deadline for one message, by a clock that all processes of the machine share
and that nobody sets (the wall clock, where there is no Linux); when it is over, the next look of
another consumer of the group takes the message away, and a settlement that comes after is LOST. A
nack (with or without a delay) and a lease that was taken away count as an attempt, a release does
not. A dead letter is published in the transaction that gives up the original. Waiting consumers
learn at once what was published through the same layer, and within `poll` seconds, or a quarter of
a second after a while without news, what was published elsewhere.

**Loses messages when** — The disk does, or somebody deletes the file. With `durability="full"`
what was accepted survives SIGKILL and loss of power (an attempt that was just begun may be
forgotten then, and is not counted); with `"normal"` a loss of power may undo the last
transactions: accepted messages, and acknowledgements, which are then delivered again.

**Native handle** — The file, `layer.path`: look into it with `sqlite3`, read-only. The tables are
explained in `acked/layers/sqlite_queue/_sql.py`.

**Requires** — Nothing but Python's `sqlite3` with SQLite 3.8.8 or newer, and a local disk: SQLite's
write-ahead log does not work on network file systems. asyncio or trio. Each process opens a layer
of its own, after a fork too. Bodies have at most 16 MiB: store larger content beside the queue.

Longer than 300 lines: a third is what it promises and what its options mean.
"""

import math
import os
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import unquote, urlsplit

from anyio import from_thread

from acked.abc import AckFeed
from acked.errors import ConfigurationError, LayerError, PublishFailed, hiding_arguments
from acked.layers._shared.urls import number, url_options, without_credentials
from acked.layers.sqlite_queue import _browsing as browsing
from acked.layers.sqlite_queue import _removal as removal
from acked.layers.sqlite_queue import _store as store
from acked.layers.sqlite_queue._access import Access
from acked.layers.sqlite_queue._clock import FileClock
from acked.layers.sqlite_queue._errors import may_be_written
from acked.layers.sqlite_queue._feed import SQLiteQueueFeed
from acked.layers.sqlite_queue._file import OF_THE_OWNER, Durability, QueueFile
from acked.layers.sqlite_queue._findings import findings, read_facts
from acked.layers.sqlite_queue._rows import Row, rows_of
from acked.types import Capabilities, Finding, KeptRecord, Receipt, Record, Start

__all__ = ("SQLiteQueueLayer",)

R = TypeVar("R")

CAPABILITIES: Final = Capabilities(
    confirmed_ack=True,
    nack=True,
    nack_delay=True,
    reject=True,
    dead_letter=True,
    extend=True,
    release=True,
    attempts=True,
    last_chance=True,
    persistent=True,
    groups=True,
    competing=True,
    lag=True,
    remove_group=True,
    browse=True,
    replay=True,
    batch_publish=True,
    coalesced_publish=True,
    publish_delay=True,
    publish_expiry=True,
    publish_priority=True,
    publish_once=True,
    publish_confirm=True,
    out_of_order_ack=True,
    headers=True,
    keys=True,
    order_after_nack=True,
    key_order=True,
    order="total",
    lease="timer",
    max_payload=16 * 1024 * 1024,
)


OPTIONS: Final = frozenset({"durability", "poll", "busy_timeout", "mode"})


class SQLiteQueueLayer:
    """An ack-capable queue in the file `path`, made if it is missing; its directory is not.

    ```python
    layer = SQLiteQueueLayer("/var/lib/shop/orders.db")
    layer = SQLiteQueueLayer.from_url("sqlite-queue:///var/lib/shop/orders.db?durability=normal")
    ```

    `durability` says what accepted means: `"full"` survives a loss of power, `"normal"` the end of
    any process. `poll` is how often a waiting consumer looks for other processes' news, and
    `busy_timeout` how long to wait while another process writes, both in seconds. `mode` is who may
    use a file that is made: its owner alone, unless you say 0o660. `time` is the clock of leases
    and delays: tests give one, and it must be the same in every process. Raises
    `ConfigurationError` for a value out of range, and for `:memory:`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        poll: float = 0.05,
        busy_timeout: float = 5.0,
        mode: int = OF_THE_OWNER,
        time: Callable[[], float] | None = None,
    ) -> None:
        self.capabilities: Final = CAPABILITIES
        self.path: Final = _checked_path(path)
        if durability not in {"full", "normal"}:
            raise ConfigurationError(f"durability must be full or normal; not {durability!r}")
        self._poll = _checked_seconds("poll", poll)
        self._durability: Durability = durability
        clock = FileClock()
        file = QueueFile(
            self.path,
            durability=durability,
            busy_timeout=_checked_seconds("busy_timeout", busy_timeout),
            pause=from_thread.check_cancelled,
            clock=clock,
            mode=mode,
        )
        self._access = Access(
            file,
            time=time or clock.time,
            awake=time or clock.awake,
        )

    def __repr__(self) -> str:
        return f"<SQLiteQueueLayer {str(self.path)!r}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "SQLiteQueueLayer":
        """Return a layer for `sqlite-queue:///absolute/path.db` or `sqlite-queue://relative.db`.

        The options are `durability`, `poll`, `busy_timeout` and `mode` (`mode=0660`). Raises
        `ConfigurationError` for any other, and for a malformed one.
        """
        options = url_options(url, OPTIONS, is_file=True)
        parts = urlsplit(url)
        if parts.fragment:
            raise ConfigurationError(f"write %23 for the # in {without_credentials(url)}")
        return cls(
            unquote(parts.netloc + parts.path),
            durability=cast("Durability", options.get("durability", "full")),
            poll=number("poll", options.get("poll", "0.05")),
            busy_timeout=number("busy_timeout", options.get("busy_timeout", "5")),
            mode=_parsed_mode(options.get("mode", "0600")),
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
        rows, failures = rows_of(records, self._access.time())
        numbers = await self._commit(rows, len(records)) if rows else range(0)
        self._access.announce({row[0] for row in rows})
        sent = (i for i in range(len(records)) if i not in failures)
        receipts = {
            i: Receipt(records[i].id, records[i].topic, str(number))
            for i, number in zip(sent, numbers, strict=True)
        }
        if failures:
            raise _not_accepted(failures, len(records), receipts)
        return [*receipts.values()]

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        """Commit `record` and its note in one transaction; see `acked.abc.PublishesOnce`."""
        self._access.check_open()
        rows, failures = rows_of([record], self._access.time())
        if failures:
            raise _not_accepted(failures, 1, {})

        def write(db: sqlite3.Connection) -> float | None:
            return store.publish_once(db, rows[0], schedule, moment, begins=begins)

        before = await self._committed(write, 1)
        self._access.announce([record.topic])
        return before

    def consume(
        self,
        topics: Sequence[str],
        group: str,
        *,
        in_flight: int,  # noqa: ARG002 - nothing is fetched ahead
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[AckFeed]:
        """Join `group`; what is held on leaving is free at once, its attempt charged."""
        return self._consuming(topics, group, start, lease=lease)

    def consume_in_key_order(
        self,
        topics: Sequence[str],
        group: str,
        /,
        *,
        in_flight: int,  # noqa: ARG002 - as above
        lease: float,
        start: Start,
    ) -> AbstractAsyncContextManager[AckFeed]:
        """Join `group` as `consume` does, for each key in its order; see `KeyOrderedLayer`."""
        return self._consuming(topics, group, start, lease=lease, in_key_order=True)

    @asynccontextmanager
    async def _consuming(
        self, topics: Sequence[str], group: str, start: Start, **options: Any
    ) -> AsyncGenerator[AckFeed, None]:
        names = dict.fromkeys(topics)
        feed = SQLiteQueueFeed(self._access, names, group, poll=self._poll, **options)
        await feed.join(start)
        try:
            yield feed
        finally:
            await feed.leave()

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`; see `acked.abc.RemovesGroups`.

        It owes nothing more, or nothing was changed, after one transaction. What it alone owed is
        deleted in pages then; cancelled meanwhile, the rest is by whoever uses the file next.
        """
        access = self._access

        def job() -> None:
            now, awake = access.time(), access.awake()
            with access.file.transaction() as db:
                for name in topics:
                    if not removal.end(db, name, group, now=now, awake=awake):
                        raise LayerError(  # raised within: rolled back
                            f"group {group!r} has a consumer of {name!r}, or had one until "
                            f"{removal.ALIVE_FOR:g} s ago that was killed; close its consumers "
                            "before removing it"
                        )

        def sweep() -> bool:
            with access.file.transaction(durable=False) as db:
                has_more = removal.sweep_page(db)
            access.file.shrink()
            return has_more

        await access.run(job)
        while await access.run(sweep):
            pass

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what `topic` keeps; see `acked.abc.BrowsableLayer`."""
        file, time = self._access.file, self._access.time

        def look(after: int, last: int | None) -> tuple[int, list[KeptRecord]]:
            with file.transaction(durable=False) as db:
                end = browsing.last_of(db, topic) if last is None else last
                return end, browsing.page_of(db, topic, after, end, time())

        last, page = await self._access.run(partial(look, 0, None))
        while page:
            yield page
            last, page = await self._access.run(partial(look, int(page[-1].position), last))

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Let no group owe what is at `positions`; see `acked.abc.BrowsableLayer`."""
        numbers = [int(position) for position in positions]

        def job() -> list[bool]:
            with self._access.file.transaction() as db:
                return browsing.remove(db, topic, numbers, self._access.time())

        return await self._access.run(job)

    async def check(self) -> Sequence[Finding]:
        """Say what the file promises, and who else may read it; see `acked.abc.Inspectable`."""
        facts = await self._access.run(partial(read_facts, self._access.file))
        return findings(facts, durability=self._durability)

    async def _commit(self, rows: Sequence[Row], asked: int) -> range:
        return await self._committed(lambda db: store.publish(db, rows), asked)

    async def _committed(self, write: Callable[[sqlite3.Connection], R], asked: int) -> R:
        """Return what `write` does in a transaction that publishes so many."""

        def job() -> R:
            self._access.sweep_if_due()
            with self._access.file.transaction() as db:
                return write(db)

        try:
            return await self._access.run(job)
        except LayerError as error:
            failures: dict[int, Exception] = dict.fromkeys(range(asked), error)
            raise PublishFailed(
                str(error), failures, indeterminate=may_be_written(error)
            ) from error


def _not_accepted(
    failures: dict[int, Exception], asked: int, receipts: dict[int, Receipt]
) -> PublishFailed:
    return PublishFailed(
        f"{len(failures)} of {asked} records were not accepted: an id, a key, a header or a "
        "content type has characters that UTF-8 cannot carry",
        failures,
        indeterminate=False,
        receipts=receipts,
    )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    words = os.fspath(path)
    if words in {"", ":memory:"}:
        raise ConfigurationError(
            f"the path {words!r} names no file that processes could share; give a path, or use "
            "MemoryQueueLayer within one process"
        )
    return Path(words).absolute()


def _parsed_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ConfigurationError(f"mode must be three octal digits, as in 0660; not {text!r}")
    return int(text, 8)


def _checked_seconds(name: str, seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} must be more than 0 seconds and finite; not {seconds}")
    return seconds
