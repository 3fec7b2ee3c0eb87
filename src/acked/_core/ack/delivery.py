"""What a subscriber is handed on an ack-capable layer: a record, and the duty to settle it."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from types import CodeType, TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec

from acked._core.ack.dead_letter_headers import Reason
from acked._core.ack.in_flight import InFlight
from acked._core.ack.in_transaction import TransactionalAcks
from acked._core.ack.settler import Flush
from acked._core.callsite import line_of
from acked._core.options import checked_seconds
from acked._machines.settlement import State
from acked.errors import AckedError, ConfigurationError, UnsettledWarning

__all__ = ("Delivery", "Settles", "entry_of", "nack_unless_committed", "reason_of")

T = TypeVar("T")

_HELD = State.HELD


class Settles(Protocol):
    """Where deliveries of one subscription are settled."""

    def ack(self, entry: InFlight) -> Flush | None:
        """Queue an ack; return what to wait for, if anything."""
        ...

    def ack_all(self, entries: Sequence[InFlight]) -> Flush | None:
        """Queue acks of `entries`, all held; return what to wait for, if anything."""
        ...

    def nack(self, entry: InFlight, delay: float) -> Flush | None:
        """Queue a nack; return what to wait for, if anything."""
        ...

    def reject(self, entry: InFlight, reason: Reason) -> Flush | None:
        """Queue a rejection; return what to wait for, if anything."""
        ...

    @property
    def transactional(self) -> TransactionalAcks:
        """What acks in transactions of the user's."""
        ...

    @property
    def group(self) -> str:
        """The group that the subscription belongs to."""
        ...

    async def extend(self, entry: InFlight, seconds: float) -> None:
        """Extend a lease."""
        ...

    async def release(self, entries: Sequence[InFlight]) -> None:
        """Give messages back, uncharged."""
        ...

    def forget(self, entry: InFlight) -> None:
        """Note that a delivery was dropped unsettled."""
        ...

    def retry_delay(self, attempt: int) -> float:
        """Return the delay of the nack after a handler failed, in seconds."""
        ...


class Delivery(msgspec.Struct, Generic[T], eq=False):
    """A body, what travelled with it, and the verbs that settle it.

    Settle it once, with `ack`, `nack` or `reject`; or use it as a context, which acks when the
    block ends well, nacks when it raises, and leaves it untouched when it is cancelled:

    ```python
    async for delivery in subscription:
        async with delivery:
            await charge(delivery.body)
    ```

    While it is held its lease is renewed. Left unsettled when the subscription is left, it is
    given back at once; garbage-collected unsettled, it warns with `UnsettledWarning` and comes
    again after a lease.
    """

    body: T
    _entry: InFlight
    _policy: Settles
    _code: CodeType
    _instruction: int
    _in_transaction: bool = False
    """It was acked in a transaction, which may be open still."""

    def __repr__(self) -> str:
        leased = self._entry.leased
        state = self._entry.state.name.lower()
        return (
            f"<Delivery {leased.record.id!r} of {leased.record.topic!r}, "
            f"attempt {leased.attempt}, {state}>"
        )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no more than `repr` does; msgspec's own would show the body."""
        state = self._entry.state.name.lower()
        named = [("id", self.id), ("topic", self.topic), ("attempt", self.attempt)]
        return [*named, ("state", state)]

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._entry.leased.record.topic

    @property
    def id(self) -> str:
        """The publisher's id of the message, the same at each delivery: it tells duplicates."""
        return self._entry.leased.record.id

    @property
    def group(self) -> str:
        """The group that it is owed to."""
        return self._policy.group

    @property
    def key(self) -> str | None:
        """What groups messages whose order matters."""
        return self._entry.leased.record.key

    @property
    def headers(self) -> Mapping[str, str]:
        """Text that travels beside the body."""
        return self._entry.leased.record.headers

    @property
    def timestamp(self) -> float:
        """When it was published, in seconds since the epoch, by the publisher's clock."""
        return self._entry.leased.record.timestamp

    @property
    def attempt(self) -> int:
        """Which delivery to this group it is, from 1."""
        return self._entry.leased.attempt

    @property
    def position(self) -> str:
        """Where the broker keeps it, for people to read."""
        return self._entry.leased.position

    async def ack(self, *, connection: object = None) -> None:
        """Settle it as done: return when the broker has said yes.

        After that it is never delivered again to this group, even if the process dies on the next
        line. With `confirm_acks=False` it returns once the settlement is queued. The same again
        is a no-op. Raises `AlreadySettled` after another settlement, `LeaseLost` when the message
        is not ours any more, `AckUnconfirmed` when the connection broke before the answer.
        Cancelled, it leaves the message acked or to be delivered again, never lost.

        With `connection=`, where the layer is in a database (`postgres-queue`), it is acked when
        your transaction commits, together with what else is in it. Rolled back, the message is
        still owed, and yours until its lease ends: it can be acked in another transaction. Then
        `LeaseLost` and `LayerError` mean that the transaction must not commit.
        """
        if connection is not None:
            await self._policy.transactional.ack(self._entry, connection)
            self._in_transaction = True
            return
        flush = self._policy.ack(self._entry)
        if flush is not None:
            await flush.confirmed(self._entry)

    async def nack(self, *, delay: float = 0.0) -> None:
        """Ask for it again, not before `delay` seconds are over; its next attempt counts one more.

        Raises as `ack` does, and `CapabilityError` where the layer cannot do this or cannot wait.
        """
        flush = self._policy.nack(self._entry, checked_seconds("delay", delay, least=0.0))
        if flush is not None:
            await flush.confirmed(self._entry)

    async def reject(self, reason: str | BaseException = "") -> None:
        """Settle it as never to be delivered again to this group.

        With `Redelivery(dead_letter=...)` a copy goes to that topic first, with `reason` in its
        headers: a text, of which 1,000 characters are kept, or an exception. Raises as `ack` does,
        and `CapabilityError` where the layer cannot do this.
        """
        flush = self._policy.reject(self._entry, reason_of(reason))
        if flush is not None:
            await flush.confirmed(self._entry)

    async def release(self) -> None:
        """Give it back: it comes again, at once, to any consumer, and no attempt is charged.

        For what cannot be handled here and now, by no fault of the message: on shutting down, or
        while something it needs is away. Raises `AlreadySettled` and `LeaseLost` as `ack` does, and
        `CapabilityError` where the layer cannot do this; use `nack` there.
        """
        await self._policy.release([self._entry])

    async def extend(self, seconds: float) -> None:
        """Let the lease end `seconds` from now, beyond what the automatic renewal does.

        It never ends sooner than the renewal would let it. Raises `LeaseLost` when the message is
        settled or not ours any more, `AckUnconfirmed` or `LayerError` when it was not extended (it
        is renewed as before), `CapabilityError` where leases cannot be extended.
        """
        await self._policy.extend(self._entry, checked_seconds("seconds", seconds, above=0.0))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ack, nack or leave alone. What was settled within the block stays as it is."""
        if self._entry.state is not _HELD:
            if isinstance(exc, Exception):
                nack_unless_committed(self, self._policy.retry_delay(self.attempt))
            return
        if exc is None:
            await self.ack()
        elif isinstance(exc, Exception):
            try:
                await self.nack(delay=self._policy.retry_delay(self.attempt))
            except AckedError as error:  # the handler's own exception is the one to be seen
                exc.add_note(f"and its message was not nacked: {error}")

    def __del__(self) -> None:
        if self._entry.state is _HELD and not sys.is_finalizing():
            self._policy.forget(self._entry)
            warnings.warn(
                f"{self!r} was dropped without ack(), nack() or reject(); it was received at "
                f"{self._code.co_filename}:{line_of(self._code, self._instruction)} and will be "
                "delivered again",
                UnsettledWarning,
                stacklevel=2,
                source=self,
            )


def entry_of(delivery: Delivery[T]) -> InFlight:
    """Return the engine's side of `delivery`."""
    return delivery._entry  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]  # same room


def nack_unless_committed(delivery: Delivery[Any], delay: float) -> None:
    """Let what was acked in a transaction come again after `delay` seconds, unless that commits.

    What was settled otherwise stays so.
    """
    if delivery._in_transaction:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]  # same room
        policy = delivery._policy  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        policy.transactional.nack_unless_committed(entry_of(delivery), delay)


def reason_of(reason: object) -> Reason:
    """Return why something is rejected; an exception by its class and its words."""
    if isinstance(reason, str):
        return Reason(reason)
    if isinstance(reason, BaseException):
        words, kind = str(reason), type(reason).__name__
        return Reason(f"{kind}: {words}" if words else kind, kind)
    raise ConfigurationError(f"a reason is a str or an exception, not {type(reason).__name__}")
