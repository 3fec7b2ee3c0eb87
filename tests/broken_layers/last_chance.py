"""Broken copies: what ended a delivery is mistaken, so the wrong message is given up, or none."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence

import msgspec

from acked.types import Leased, Token
from tests.broken_layers.catalogue import broken
from tests.broken_layers.planted import Feed, Queue

__all__ = ()

KEPT = "test_what_ended_a_delivery_is_kept_with_the_message"


@broken(KEPT)
class CallsEveryDeliveryAFailure(Queue):
    """A worker that was lost counts as a job that failed.

    https://github.com/OptimalBits/bull/issues/1591
    """

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(one, failures=one.attempt - 1)
            for one in super().take(feed, limit)
        ]


@broken(KEPT)
class CallsNothingAFailure(Queue):
    """Retries are counted apart from what the broker delivers, and read from there."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [msgspec.structs.replace(one, failures=0) for one in super().take(feed, limit)]


@broken(KEPT)
class ForgetsWhoWasAlone(Queue):
    """The note is kept in the consumer, and dies with it."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [msgspec.structs.replace(one, ended_alone=0) for one in super().take(feed, limit)]


@broken(KEPT)
class TellsOnlyThatItWasAlone(Queue):
    """A flag where a count is wanted: who is stopped twice from outside, and who kills, look alike."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(one, ended_alone=min(one.ended_alone, 1))
            for one in super().take(feed, limit)
        ]


@broken(KEPT)
class ForgetsAtAReleaseThatItEndedAlone(Queue):
    """What is given back unread begins anew, so it may end one process after the other."""

    forgotten: frozenset[int] = frozenset()

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        for token in tokens:
            lease = feed._held.get(token)
            if lease is not None:
                self.forgotten |= {lease.kept.number}
        await super().release(feed, tokens)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(one, ended_alone=0)
            if int(one.position) in self.forgotten
            else one
            for one in super().take(feed, limit)
        ]


@broken(KEPT)
class KeepsTheNoteOverARelease(Queue):
    """What was given back in good order is still suspected."""

    noted: frozenset[int] = frozenset()

    async def release(self, feed: Feed, tokens: Sequence[Token]) -> None:
        for token in tokens:
            lease = feed._held.get(token)
            if lease is not None and lease.is_alone:
                self.noted |= {lease.kept.number}
        await super().release(feed, tokens)

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        return [
            msgspec.structs.replace(
                one, ended_alone=one.ended_alone + (int(one.position) in self.noted)
            )
            for one in super().take(feed, limit)
        ]


@broken("test_who_lost_a_message_notes_nothing_with_it")
class NotesByTheMessageNotByTheLease(Queue):
    """Whoever had a message once may note something with it."""

    def take(self, feed: Feed, limit: int) -> list[Leased]:
        taken = super().take(feed, limit)
        held = dict(feed._held)

        async def note_alone(token: Token, /, *, alone: bool) -> Token | None:
            if token in held:
                held[token].kept.position = "noted" if alone else held[token].kept.position
                return token
            return None

        feed.note_alone = note_alone  # type: ignore[method-assign]
        return [
            msgspec.structs.replace(one, ended_alone=int(one.position == "noted")) for one in taken
        ]
