"""The contracts a layer implements: structural, batch-only, free of policy.

A layer is an adapter to one broker mechanism. It imports this module, `acked.types`,
`acked.clocks` and `acked.errors`, and nothing else of `acked`; it inherits from nothing.
Everything that is policy stays above, in the engine: buffers, overflow, concurrency, codecs,
reconnecting with backoff, renewing leases, coalescing settlements, counting deliveries,
dead letters, statistics.

Two kinds. A `FireAndForgetLayer` carries *news*: they may be missed, never silently. An
`AckLayer` carries *debts*: a message stays owed to a group until somebody settles it.

Rules for every method here:

- *Errors.* A layer raises `LayerError` (or one of its kind) for whatever its client or broker
  raises, translated at one seam, with the address (without credentials) and what to do.
  `ConnectionLost` means: trying again may help, and the same object can be tried again;
  so does a refusal with `may_pass` (busy, full, read-only), which is told by its own words.
- *Cancellation* may arrive at any await. Each docstring says what it leaves behind.
- *Loop.* Objects are used within one event loop at a time, by any number of tasks.
- *Lifetime.* `async with layer:` may be entered and left by different tasks, and again after it
  was left. So a layer opens no task group and no cancel scope across that boundary.

Longer than 300 lines: it is the contract in one place, and half of it are docstrings.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from acked.errors import LayerError
from acked.types import (
    Capabilities,
    Finding,
    Gap,
    KeptRecord,
    Leased,
    Receipt,
    Record,
    Reply,
    Settlement,
    Start,
    Token,
)

__all__ = (
    "AckFeed",
    "AckLayer",
    "AckPatternLayer",
    "BrowsableLayer",
    "Clock",
    "FireAndForgetLayer",
    "Inspectable",
    "KeyOrderedLayer",
    "LagFeed",
    "LastChanceFeed",
    "Layer",
    "LayerFactory",
    "PartlyFailingFeed",
    "PatternLayer",
    "PublishesOnce",
    "RemovesGroups",
    "Sink",
    "TimedFeed",
    "TransactionalFeed",
    "TransactionalLayer",
)


class Clock(Protocol):
    """Where a layer or the engine gets its time from: `SystemClock`, or a test's `VirtualClock`."""

    def time(self) -> float:
        """Return seconds that never go backwards."""
        ...

    async def sleep_until(self, moment: float) -> None:
        """Wait until `time()` has reached `moment`. Cancelling leaves nothing behind."""
        ...


class Layer(Protocol):
    """What both kinds have in common: capabilities and a life."""

    @property
    def capabilities(self) -> Capabilities:
        """What this layer can promise. Constant from construction on."""
        ...

    async def __aenter__(self) -> Self:
        """Connect, so far as the broker can be reached at all, and return the layer.

        Called by the engine, once for each opening, never concurrently. The engine does not
        retry: a wrong address or password must show here. Raises `ConnectionLost` when nobody
        answers, `LayerError` when the broker refuses us. Cancelling leaves nothing open.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close every connection, thread and file.

        Called by the engine after every feed and listener was left, possibly by another task
        than the one that entered. Errors of closing are not raised: the work is done.
        """
        ...


class LayerFactory(Protocol):
    """What an entry point of the group `acked.layers` names; the entry's name is a URL scheme.

    ```toml
    [project.entry-points."acked.layers"]
    pigeon-post = "pigeons.acked_layer:PigeonLayer"
    ```
    """

    def from_url(self, url: str) -> Layer:
        """Return a layer for `url`, not yet connected; usually a classmethod of the layer.

        Raises `ConfigurationError` for an unknown or malformed option, naming it.
        """
        ...


@runtime_checkable
class AckLayer(Layer, Protocol):
    """A layer whose messages stay owed to a group until they are settled."""

    async def publish(self, records: Sequence[Record]) -> Sequence[Receipt]:
        """Hand `records` to the broker and return one receipt for each, in the same order.

        *Called by* the engine, after it has checked topics and sizes against `capabilities`.
        *Concurrently:* yes, by any number of tasks. *Retries:* nobody; a layer switches its
        client's own retries off, since a repeated publish is a duplicate. *Raises*
        `PublishFailed` naming the members that failed. *Cancellation* leaves each record whole
        or absent, which of them is unknown, and the layer usable. *An empty batch* returns an
        empty sequence and sends nothing.
        """
        ...

    def consume(
        self, topics: Sequence[str], group: str, *, in_flight: int, lease: float, start: Start
    ) -> AbstractAsyncContextManager["AckFeed"]:
        """Join `group` as one more consumer of `topics`, for as long as the context is entered.

        *Called by* the engine, once for each subscription; entered and left by the same task.
        `in_flight` is the most the engine will ever hold unsettled, a hint for prefetch windows.
        `lease` is in seconds. `start` matters only for a group that does not exist yet: entering
        creates it, so that whatever is published afterwards is owed to it. *Leaving* closes the
        feed's own connections; what is unsettled then was given back by the engine before, by
        `release` or a nack. What is leased all the same comes free, its attempt charged; what a
        cancelled `receive` had leased comes free without. Leaving happens under cancellation, too:
        shield what must be done, for two seconds at most.
        """
        ...


class AckFeed(Protocol):
    """One consumer of a group: receives, settles, extends, gives back.

    The engine calls `receive` from one task at a time, `settle` from another one at a time,
    `extend` from a third, `release` from a fourth, all of them concurrently.
    """

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Wait for at least one message and return up to `limit`, each leased to us from now on.

        Includes what became free again: nacked messages whose delay is over, expired leases of
        dead consumers. *Called by* the engine's pump, `limit >= 1`. *Retries:* the engine calls
        again with backoff after an error that `may_pass`; the feed then reconnects. *Cancelling*
        loses nothing: what was leased meanwhile is returned by the next call, or comes back when
        its lease ends. Never returns an empty sequence.
        """
        ...

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Carry out `batch` and return one answer for each, in the same order.

        CONFIRMED only when the broker has said yes; LOST when the lease is not ours any more, and
        then nothing was changed for its present holder. A broken connection is not raised but the
        answer of those it struck: `ConnectionLost`, or UNKNOWN where there is nothing to say. What
        the broker refuses (no rights, no memory, too large) is a `LayerError` for its answer, which
        says who refused what and what to do: that member is unchanged and still owed. A REJECT with
        a dead letter publishes that first, or both in one atomic step; if that fails, why is the
        answer, and the original stays owed. A settlement tried again after UNKNOWN is decided
        truly: CONFIRMED where the first try had worked. *Called by* the engine's settler with at
        least one member and never two for one token at once. *Retries:* nobody. *Cancellation*
        happens only when closing has run out of time; outcomes are unknown then.
        """
        ...

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        """Let the leases of `tokens` end `seconds` from now and return one answer for each.

        Never takes a message back from another holder: that is LOST. Charges no attempt. What the
        broker refuses is a `LayerError` for its answer, and no lease was changed.
        *Called by* the engine's renewal. *Retries:* the engine, at its next turn. *Raises*
        `ConnectionLost` when nothing can be said of any. A token settled meanwhile is LOST, a
        no-op. Not called where `capabilities.extend` is off.
        """
        ...

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give back what the user never saw, or was interrupted at, without charging an attempt.

        Each is free for any consumer of the group at once. *Called by* the engine while it leaves
        the subscription, and for what waited unseen for too long, also while `receive` waits.
        Releasing what is not ours any more is a no-op. *Raises* nothing for a lost connection:
        leases end by themselves.
        """
        ...


@runtime_checkable
class FireAndForgetLayer(Layer, Protocol):
    """A layer whose messages reach whoever listens at the moment, and nobody else."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Hand `records` to the broker, or to the sinks where the layer is its own broker.

        *Called by* the engine, after it has checked topics and sizes. *Concurrently:* yes. One
        task's records keep their order. *Retries:* nobody. *Raises* `PublishFailed`.
        *Cancellation* leaves each record whole or absent for each listener. With nobody listening:
        a no-op that never blocks.
        """
        ...

    def listen(self, topics: Sequence[str], sink: "Sink") -> AbstractAsyncContextManager[None]:
        """Feed everything published to `topics` into `sink` for as long as the context is entered.

        Entered means that the broker has confirmed: whatever is published afterwards is seen.
        *Called by* the engine, once for each subscription; entered and left by the same task.
        A layer that loses its connection reconnects, subscribes again and calls `sink.gap`; when
        it must give up, it calls `sink.fail`. After leaving, the sink is not called again, and
        nobody waits in its `send` any more.
        """
        ...


class Sink(Protocol):
    """The engine's bounded stream, as a layer sees it. Call it from the event loop's thread."""

    def offer(self, record: Record, /) -> bool:
        """Take `record` without waiting, by the overflow policy; False if there was no room.

        Only BLOCK has no room: then use `send`, or stop reading until it has. A dropped message
        counts as taken: the sink has counted it.
        """
        ...

    async def send(self, record: Record, /) -> None:
        """Take `record`, waiting for room under BLOCK. Cancelled before it was taken: not taken."""
        ...

    def gap(self, gap: Gap) -> None:
        """Tell that messages may have been missed between the last record and the next."""
        ...

    def fail(self, error: LayerError) -> None:
        """Tell that the layer cannot go on; raised in the subscriber after what is buffered."""
        ...


# Abilities beyond the contracts are protocols of their own, so that the four never change.


@runtime_checkable
class Inspectable(Protocol):
    """A layer that can say what matters for safety on its server: `channel.check()`."""

    async def check(self) -> Sequence[Finding]:
        """Ask the server and return one finding for each fact, in a stable order.

        *Called by* the engine while the layer is entered. What the server refuses to tell (no
        permission) is a finding with the value None, not an error. *Raises* `ConnectionLost` when
        nobody answers. *Cancelling* leaves nothing behind.
        """
        ...


@runtime_checkable
class LagFeed(Protocol):
    """A feed that knows how far behind it is; its layer has `capabilities.lag`."""

    def lag(self) -> int | None:
        """Return what is published and not yet fetched, as the broker last told; no I/O.

        None where the broker has not told yet.
        """
        ...


@runtime_checkable
class LastChanceFeed(Protocol):
    """A feed that keeps who was handled alone; its layer has `capabilities.last_chance`."""

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note with a message that it is now handled alone, or that it is not any more.

        The note is this delivery's. If its lease ends by itself, who gets the message next finds
        one more in `Leased.ended_alone`; a release takes the note away and leaves that count as it
        was, a nack sets it to 0. Returns the token that it has from now on, None if it is not
        ours any more. *Called by* the engine before it hands out what has one delivery left, with
        nothing else in flight. *Raises* `LayerError`, and then nothing was noted that is known of.
        """
        ...


@runtime_checkable
class BrowsableLayer(Protocol):
    """An ack-capable layer that shows what a topic keeps; it has `capabilities.browse`."""

    def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show in pages what some group of `topic` owes by now, or all where there is no group.

        In its order, and nothing is taken: no lease, no attempt, no new group. No page is empty.
        *Called by* the engine, which closes it, and may `remove` meanwhile. *Raises* `LayerError`.
        """
        ...

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Let no group owe any more what `browse` showed at `positions`; say of each if it is gone.

        What a consumer holds is left: False; what is gone already is True. Trying again is safe.
        """
        ...


@runtime_checkable
class TimedFeed(Protocol):
    """A feed that knows since when the leases of its last `receive` have run."""

    @property
    def leased_at(self) -> float:
        """The moment before the request that brought them, on the layer's clock (`SystemClock`).

        Without it the engine takes that at which `receive` returned: too late after a stall.
        """
        ...


@runtime_checkable
class TransactionalLayer(Protocol):
    """A layer in a database: it publishes in a transaction of its user's, on their connection."""

    async def publish_in(
        self, connection: object, records: Sequence[Record], /
    ) -> Sequence[Receipt] | None:
        """Publish `records` in the transaction that `connection` is in.

        They can be received when it commits, and never if it is rolled back. Returns and *raises*
        as `publish` does; after an error the transaction cannot commit. *Called by* the engine in
        the task that publishes, which does nothing else on the connection meanwhile.
        """
        ...


@runtime_checkable
class TransactionalFeed(Protocol):
    """A feed in a database: it settles in a transaction of its user's, on their connection."""

    async def settle_in(
        self, connection: object, batch: Sequence[Settlement], /
    ) -> Sequence[Reply]:
        """Carry out `batch` in the transaction that `connection` is in, as `settle` does.

        CONFIRMED means: settled when it commits, and if it is rolled back still leased until the
        lease ends, as if nothing had been asked. The feed counts it as held no more. Asked again
        for a token, it does so again. *Raises* `LayerError`, after which the transaction cannot
        commit, and `ConfigurationError` for what is no connection that the layer knows, or in no
        transaction.
        """
        ...

    def unless_committed(self, token: Token, delay: float, /) -> None:
        """Nack `token`, settled by `settle_in`, within seconds unless that commits; do not wait."""
        ...


@runtime_checkable
class PartlyFailingFeed(Protocol):
    """A feed over several servers, of which one may fail while the others go on."""

    @property
    def failing(self) -> LayerError | None:
        """Why a part of it receives nothing at the moment; the reader gets it in the end."""
        ...


@runtime_checkable
class PatternLayer(Protocol):
    """A fire-and-forget layer that subscribes by pattern; it has `capabilities.patterns`."""

    def listen_patterns(
        self, patterns: Sequence[str], sink: Sink
    ) -> AbstractAsyncContextManager[None]:
        """Feed what is published to any topic that matches any of `patterns` into `sink`.

        As `FireAndForgetLayer.listen` in everything else. A pattern is a glob, on UTF-8 bytes: `*`
        any bytes, `?` one, `[a-z]` and `[^a-z]` one of a set, a backslash before a byte itself. A
        record that matches several of `patterns` arrives once; its `topic` is the topic's own name.
        """
        ...


@runtime_checkable
class AckPatternLayer(Protocol):
    """An ack-capable layer that subscribes by pattern; it has `capabilities.patterns`.

    The syntax is the broker's own: what it matches itself is kept for a group, no more, no less.
    """

    def matcher(self, pattern: str) -> Callable[[str], bool]:
        """Return the function that says whether a topic's name matches `pattern`.

        *Called by* the engine, once for each pattern, before anything is opened. Raises
        `ConfigurationError` for what is no pattern here.
        """
        ...

    def consume_patterns(
        self, patterns: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AbstractAsyncContextManager["AckFeed"]:
        """Join `group` as one more consumer of all topics that match any of `patterns`.

        Also of those that are new later. As `AckLayer.consume` in everything else. A record that
        matches several of `patterns` arrives once; its `topic` is the topic's own name.
        """
        ...


@runtime_checkable
class KeyOrderedLayer(Protocol):
    """An ack-capable layer that keeps each key in order; it has `capabilities.key_order`.

    A message with a key is free when no earlier one of its key and topic is owed to the group,
    whoever holds that one, or waits for its delay, or died with it: so at most one of a key is
    leased. A release or a nack keeps the place; what settles, a dead letter too, frees the next.
    What waits costs nobody else: a claim may walk over it once, not each time.
    """

    def consume_in_key_order(
        self, topics: Sequence[str], group: str, /, *, in_flight: int, lease: float, start: Start
    ) -> AbstractAsyncContextManager["AckFeed"]:
        """Join as `AckLayer.consume` does; who has joined by that heeds no order."""
        ...


@runtime_checkable
class PublishesOnce(Protocol):
    """An ack-capable layer that publishes what many ask for; it has `capabilities.publish_once`."""

    async def publish_once(
        self, record: Record, schedule: str, moment: float, /, *, begins: bool
    ) -> float | None:
        """Publish `record`, unless as late a moment is noted for `schedule`; return what was noted.

        And note `moment`, in one step; with `begins` only that, where nothing was. Raises likewise.
        """
        ...


@runtime_checkable
class RemovesGroups(Protocol):
    """An ack-capable layer that can forget a group; it has `capabilities.remove_group`."""

    async def remove_group(self, topics: Sequence[str], group: str) -> None:
        """Forget `group` of `topics`: what was owed to it is owed no more, and kept for it no more.

        *Called by* the engine, for a group whose consumers were closed; where the broker still sees
        one, that is a `LayerError` and nothing is changed. A group or topic that does not exist is
        a no-op. *Raises* `ConnectionLost` when nobody answers; trying again is safe.
        """
        ...
