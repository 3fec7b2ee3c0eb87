"""Debts within one process: the reference that the other ack-capable layers are compared with.

**Semantics** — At-least-once, within one process. A topic keeps a record until every group that
owes it has settled it. Publishing makes a record owed to every group the topic knows; before there
is one, everything is kept. A group that is new begins with whatever is kept (`Start.EARLIEST`),
with the kept records from a time on (`Start.at`, by the record's timestamp), or with what comes
next (`Start.LATEST`). Groups and records live as long as the layer object: they survive consumers
that leave and `async with` left and entered again. Layers from the URL `memory-queue://name` share
one state that lives as long as the process. At most `max_backlog` records are kept in a topic;
more are refused with `PublishFailed`.

**Ordering** — Total within a topic. What is delivered again comes in its original place among what
is ready; what was published with a priority comes before what has a lower one. Several topics in
one subscription get equal shares of every batch, none starves. With `ordered_by="key"` one message
of a key is leased in a group at a time, the earliest.

**Acknowledgement** — Confirmed at once. A lease is a deadline for one message, read from `clock`;
when it is over, the next look of another consumer of the group takes the message away, and a
settlement that comes after is LOST. A nack (with or without a delay) and a lease that was taken
away count as an attempt, a release does not. A dead letter is published in the same step in which
the original is given up; if its topic is full, that is refused and the original stays owed.

**Loses messages when** — The process ends, or the layer object goes. Nothing else.

**Native handle** — None: the layer object is the broker. Its `repr` tells what every group owes.

**Requires** — Nothing but `acked`; asyncio or trio. One event loop: no sharing between threads.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from acked.abc import Clock
from acked.clocks import SystemClock
from acked.errors import ConfigurationError, LayerError, PublishFailed, hiding_arguments
from acked.layers._shared.findings import in_this_process
from acked.layers._shared.urls import url_options, without_credentials
from acked.layers.memory_queue._broker import Broker
from acked.layers.memory_queue._feed import MemoryQueueFeed
from acked.types import Capabilities, Finding, KeptRecord, Receipt, Record, Start

__all__ = ("MemoryQueueLayer",)

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
    groups=True,
    competing=True,
    remove_group=True,
    browse=True,
    lag=True,
    replay=True,
    batch_publish=True,
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
)

DEFAULT_MAX_BACKLOG: Final = 1_000_000
RECORDS_BETWEEN_CHECKPOINTS: Final = 100
BROWSED_AT_ONCE: Final = 1000

_named: Final[dict[str, Broker]] = {}
"""The state behind each `memory-queue://name` of this process."""


class MemoryQueueLayer:
    """An ack-capable broker inside this object.

    ```python
    layer = MemoryQueueLayer(max_backlog=10_000)
    layer = MemoryQueueLayer.from_url("memory-queue://orders?max_backlog=10000")
    ```

    `max_backlog` bounds the records each topic keeps; None: only memory does. `clock` says when
    leases and delays are over. Raises `ConfigurationError` for a `max_backlog` below 1.
    """

    def __init__(
        self, *, clock: Clock | None = None, max_backlog: int | None = DEFAULT_MAX_BACKLOG
    ) -> None:
        if max_backlog is not None and max_backlog < 1:
            raise ConfigurationError(f"max_backlog must be 1 or more, or None; not {max_backlog}")
        self.capabilities: Final = CAPABILITIES
        self._clock: Clock = clock or SystemClock()
        self._broker = Broker(max_backlog)
        self._before_checkpoint = RECORDS_BETWEEN_CHECKPOINTS

    def __repr__(self) -> str:
        return f"<MemoryQueueLayer: {self._broker!r}>"

    @classmethod
    @hiding_arguments
    def from_url(cls, url: str) -> "MemoryQueueLayer":
        """Return a layer for `memory-queue://`, or one of those that share `memory-queue://name`.

        The option `max_backlog` is a number or `none`; it may be left out where the name is known.
        Raises `ConfigurationError` for anything else, and for a `max_backlog` that contradicts
        the one the name was first used with.
        """
        backlog = url_options(url, frozenset({"max_backlog"})).get("max_backlog")
        layer = cls(max_backlog=_parsed(backlog, url))
        if name := _name(url):
            shared = _named.setdefault(name, layer._broker)
            if backlog is not None and shared.max_backlog != layer._broker.max_backlog:
                raise ConfigurationError(
                    f"memory-queue://{name} is in use with max_backlog={shared.max_backlog}; leave "
                    "the option out or give the same one"
                )
            layer._broker = shared
        return layer

    async def __aenter__(self) -> Self:
        """Return the layer: there is nothing to connect, and what it kept it still has."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: groups and records stay for the next time."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Keep `records` and return a receipt for each; its position is the number in its topic.

        Raises `PublishFailed` naming those whose topic keeps `max_backlog` already; the others
        are accepted. Cancelled, none is.
        """
        self._before_checkpoint -= len(records)
        if self._before_checkpoint < 0:
            self._before_checkpoint = RECORDS_BETWEEN_CHECKPOINTS
            await anyio.lowlevel.checkpoint()  # before the first record is kept
        return self._kept(records)

    def _kept(self, records: Sequence[Record]) -> Sequence[Receipt]:
        receipts: list[Receipt] = []
        now = self._clock.time() if any(one.delay or one.expires for one in records) else 0.0
        failures: dict[int, Exception] = {}
        for index, record in enumerate(records):
            kept = self._broker.publish(record, now)
            if kept is None:
                failures[index] = self._broker.refusal([record.topic])
            else:
                receipts.append(Receipt(record.id, record.topic, kept.position))
        for name in dict.fromkeys(record.topic for record in records):
            self._broker.topic(name).nudge()
        if failures:
            raise self._refusal(records, failures)
        return receipts

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        """Publish unless that was done for `moment`; see `acked.abc.PublishesOnce`."""
        await anyio.lowlevel.checkpoint()
        before = self._broker.noted.get(schedule)
        if before is None or before < moment:
            if before is not None or not begins:
                self._kept([record])
            self._broker.noted[schedule] = moment
        return before

    @asynccontextmanager
    async def consume(
        self,
        topics: Sequence[str],
        group: str,
        *,
        in_flight: int,  # noqa: ARG002 - nothing is fetched ahead
        lease: float,
        start: Start,
    ) -> AsyncGenerator[MemoryQueueFeed]:
        """Join `group`; what is still held on leaving is free at once, its attempt charged."""
        joined = self._broker.join(group, topics, start)
        feed = MemoryQueueFeed(self._broker, self._clock, joined, lease)
        try:
            yield feed
        finally:
            feed.leave()
            self._broker.leave(group, topics)

    @asynccontextmanager
    async def consume_in_key_order(
        self, topics: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AsyncGenerator[MemoryQueueFeed]:
        """Join `group` as `consume` does, for each key in its order; see `KeyOrderedLayer`."""
        joined = self.consume(topics, group, in_flight=in_flight, lease=lease, start=start)
        async with joined as feed:
            feed.in_key_order = True
            yield feed

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`; see `acked.abc.RemovesGroups`."""
        found = [self._broker.topics[name] for name in topics if name in self._broker.topics]
        if any(topic.has_consumers(group) for topic in found):
            raise LayerError(f"group {group!r} is in use; close its consumers before removing it")
        for topic in found:
            topic.remove(group)

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what `topic` keeps; see `acked.abc.BrowsableLayer`."""
        stored = self._broker.topics.get(topic)
        numbers = () if stored is None else tuple(stored.kept)
        for start in range(0, len(numbers), BROWSED_AT_ONCE):
            await anyio.lowlevel.checkpoint()
            some, now = numbers[start : start + BROWSED_AT_ONCE], self._clock.time()
            if stored and (page := stored.shown(some, now)):
                yield page

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Let no group owe what is at `positions`; see `acked.abc.BrowsableLayer`."""
        await anyio.lowlevel.checkpoint()
        stored, numbers = self._broker.topics.get(topic), [int(one) for one in positions]
        if stored is None:
            return [True] * len(positions)
        held = stored.discard(frozenset(numbers), self._clock.time())
        stored.nudge()  # what waited for an earlier one of its key
        return [number not in held for number in numbers]

    async def check(self) -> Sequence[Finding]:
        """Say what holds for every memory queue: there is no server to ask."""
        return [in_this_process()]

    def _refusal(self, records: Sequence[Record], failures: dict[int, Exception]) -> PublishFailed:
        full = sorted({records[index].topic for index in failures})
        return PublishFailed(
            f"{len(failures)} of {len(records)} records were not accepted: "
            f"{self._broker.refusal(full)}",
            failures,
            indeterminate=False,
        )


def _name(url: str) -> str:
    parts = urlsplit(url)
    if parts.path.strip("/"):
        raise ConfigurationError(
            f"{without_credentials(url)} has a path; the name alone is wanted: memory-queue://name"
        )
    return parts.netloc.rpartition("@")[2]


def _parsed(backlog: str | None, url: str) -> int | None:
    if backlog is None:
        return DEFAULT_MAX_BACKLOG
    if backlog == "none":
        return None
    if not backlog.isdecimal():
        raise ConfigurationError(
            f"max_backlog in {without_credentials(url)} must be a number or none; not {backlog!r}"
        )
    return int(backlog)
