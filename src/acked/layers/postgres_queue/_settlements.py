"""A batch of settlements as one call of `settle`, and its answer as one reply a member."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from acked.errors import LayerError
from acked.layers.postgres_queue._records import PostgresLease, columns, refusal_of
from acked.types import Outcome, Record, Reply, Settlement, Token, Verb

__all__ = ("SettlePlan", "arrays_of", "replies_of", "settle_plan")

_NOBODYS: Final = PostgresLease(0, 0, 0)
_NO_LETTERS: Final = (None,) * (1 + len(columns([])))
_NACK: Final = Verb.NACK
_LOST: Final = Outcome.LOST
_CONFIRMED: Final = Outcome.CONFIRMED


class SettlePlan(NamedTuple):
    """The arguments of one call of `settle`, and which members it is not about, with the reason."""

    arguments: tuple[object, ...]
    refused: dict[int, LayerError]

    def replies(self, places: object, count: int) -> list[Reply]:
        """Return the reply to each member, from the answer of `settle`."""
        replies = replies_of(places, count)
        for place, error in self.refused.items():
            replies[place] = error
        return replies


def settle_plan(batch: Sequence[Settlement], *, announce: bool = False) -> SettlePlan:
    """Return how `batch` is settled by one call; `announce` where that is in a transaction."""
    tokens = [_ours(one.token) for one in batch]
    delays = [one.delay if one.verb is _NACK else None for one in batch]
    letters: list[Record] = []
    of_members: list[int] = []
    refused: dict[int, LayerError] = {}
    for place, one in enumerate(batch):
        letter = one.dead_letter
        if letter is None:
            continue
        refusal = refusal_of(letter)
        if refusal is None:
            letters.append(letter)
            of_members.append(place + 1)
        else:  # it stays owed, and spoils no neighbour
            tokens[place], refused[place] = _NOBODYS, refusal
    copies: tuple[object, ...] = (of_members, *columns(letters)) if letters else _NO_LETTERS
    again = delays if delays.count(None) < len(delays) else None
    return SettlePlan((*arrays_of(tokens), again, *copies, announce), refused)


def arrays_of(tokens: Sequence[Token]) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return the groups, the messages and the numbers of `tokens`."""
    ours = [_ours(token) for token in tokens]
    return [one.grp for one in ours], [one.seq for one in ours], [one.lease for one in ours]


def replies_of(places: object, count: int) -> list[Reply]:
    """Return CONFIRMED for each of `count` whose place, from 1, is among `places`; else LOST."""
    found = cast("list[Any]", places)
    if len(found) == count:
        return [_CONFIRMED] * count
    replies: list[Reply] = [_LOST] * count
    for place in found:
        replies[place - 1] = _CONFIRMED
    return replies


def _ours(token: Token) -> PostgresLease:
    """Return `token`; one of another layer is nobody's here."""
    return token if isinstance(token, PostgresLease) else _NOBODYS
