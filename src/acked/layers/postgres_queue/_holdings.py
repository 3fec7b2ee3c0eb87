"""What a consumer holds, as far as it knows, and what it asked for and was never told."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from acked.layers.postgres_queue._records import PostgresLease
from acked.types import Outcome, Reply, Settlement, Token, Verb

__all__ = ("Holdings",)


class Holdings:
    """The leases of one consumer, each with the moment until which it is known to be ours."""

    def __init__(self) -> None:
        self._until: dict[Token, float] = {}
        self._numbers: Counter[int] = Counter()
        self._doubted: dict[Token, Verb] = {}
        """Settlements that nobody answered."""

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[Token]:
        return iter(self._until)

    def numbers(self) -> Sequence[int]:
        """Return the numbers of the leases that are held: what a claim must leave alone."""
        return [*self._numbers]

    def hold(self, tokens: Sequence[Token], until: float) -> None:
        """Note what a claim brought."""
        self._until.update(dict.fromkeys(tokens, until))
        self._numbers.update([token.lease for token in tokens if isinstance(token, PostgresLease)])

    def drop(self, tokens: Iterable[Token]) -> None:
        """Note what is held no more."""
        until, doubted = self._until, self._doubted
        dropped: list[int] = []
        for token in tokens:
            if doubted:
                doubted.pop(token, None)
            if until.pop(token, None) is not None and isinstance(token, PostgresLease):
                dropped.append(token.lease)
        self._drop_numbers(Counter(dropped))

    def _drop_numbers(self, dropped: Counter[int]) -> None:
        numbers = self._numbers
        for number, count in dropped.items():
            if numbers[number] > count:
                numbers[number] -= count
            else:
                del numbers[number]

    def extended(self, tokens: Sequence[Token], replies: Sequence[Reply], until: float) -> None:
        """Note what became of an extension."""
        lost: list[Token] = []
        for token, reply in zip(tokens, replies, strict=True):
            if reply is Outcome.CONFIRMED and token in self._until:
                self._until[token] = max(until, self._until[token])
            elif reply is Outcome.LOST and token not in self._doubted:
                lost.append(token)
        self.drop(lost)

    def doubt(self, batch: Iterable[Settlement]) -> None:
        """Note settlements that may have been carried out."""
        for one in batch:
            if one.token in self._until:
                self._doubted.setdefault(one.token, one.verb)

    def settled(
        self, batch: Sequence[Settlement], replies: list[Reply], now: float
    ) -> Sequence[Reply]:
        """Return `replies`, those decided that are to a second try, and forget what is settled.

        Until a lease has ended nobody else can have taken it: then the first try was ours.
        """
        if self._doubted:
            for place, one in enumerate(batch):
                is_same = self._doubted.get(one.token) is one.verb
                if replies[place] is Outcome.LOST and is_same and now < self._until[one.token]:
                    replies[place] = Outcome.CONFIRMED
        pairs = zip(batch, replies, strict=True)
        self.drop([one.token for one, reply in pairs if isinstance(reply, Outcome)])
        return replies
