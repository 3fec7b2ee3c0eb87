"""Deliveries that are settled together."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

from acked._core.ack.delivery import Delivery, Settles, reason_of
from acked._core.ack.in_flight import InFlight
from acked._core.ack.settler import Flush
from acked._core.options import checked_seconds
from acked._machines.settlement import State
from acked.errors import AckedError

__all__ = ("Batch", "together")

T = TypeVar("T")


class Batch(Sequence[Delivery[T]]):
    """Deliveries that are settled together, in one request; a sequence in order of delivery."""

    def __init__(self, deliveries: Sequence[Delivery[T]], policy: Settles) -> None:
        self._deliveries = deliveries
        self._policy = policy

    def __repr__(self) -> str:
        return f"<Batch of {len(self)}>"

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[Delivery[T]]:
        return iter(self._deliveries)

    @overload
    def __getitem__(self, index: int) -> Delivery[T]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Delivery[T]]: ...
    def __getitem__(self, index: int | slice) -> Delivery[T] | Sequence[Delivery[T]]:
        return self._deliveries[index]

    async def ack(self) -> None:
        """Ack every member, as `Delivery.ack` does.

        Raises an `ExceptionGroup` with one error for each member that was not acked; the others
        are.
        """
        entries = self._entries()
        if [entry.state for entry in entries].count(State.HELD) < len(entries):
            await self._each(self._policy.ack)
            return
        flush = self._policy.ack_all(entries)
        if flush is not None:
            failures = await flush.failures()  # others' may be among them
            self._raise_what_failed([failures[one] for one in entries if one in failures])

    async def nack(self, *, delay: float = 0.0) -> None:
        """Nack every member, as `Delivery.nack` does; raises as `ack` does."""
        delay = checked_seconds("delay", delay, least=0.0)
        await self._each(lambda entry: self._policy.nack(entry, delay))

    async def reject(self, reason: str | BaseException = "") -> None:
        """Reject every member, as `Delivery.reject` does; raises as `ack` does."""
        why = reason_of(reason)
        await self._each(lambda entry: self._policy.reject(entry, why))

    async def release(self) -> None:
        """Give every member back, as `Delivery.release` does: all or, if it raises, none."""
        await self._policy.release(self._entries())

    async def _each(self, settle: Callable[[InFlight], Flush | None]) -> None:
        errors: list[AckedError] = []
        waiting: dict[Flush, list[InFlight]] = {}
        for entry in self._entries():
            try:
                flush = settle(entry)
            except AckedError as error:
                errors.append(error)
            else:
                if flush is not None:
                    waiting.setdefault(flush, []).append(entry)
        for flush, entries in waiting.items():
            failures = await flush.failures()
            if failures:
                errors += [failures[entry] for entry in entries if entry in failures]
        self._raise_what_failed(errors)

    def _entries(self) -> list[InFlight]:
        # As `entry_of` does, without a call for each.
        return [one._entry for one in self._deliveries]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def _raise_what_failed(self, errors: Sequence[AckedError]) -> None:
        if errors:
            raise ExceptionGroup(
                f"{len(errors)} of {len(self)} deliveries were not settled", errors
            )


def together(deliveries: Sequence[Delivery[T]]) -> Batch[T]:
    """Return `deliveries` of one subscription, at least one, as a batch."""
    return Batch(deliveries, deliveries[0]._policy)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]  # same room
