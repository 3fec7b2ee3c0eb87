"""Dead letters: each is sent once, with whatever text it has."""

from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from acked.errors import LayerError
from acked.types import Record, Settlement, Token

__all__ = ("DeadLetters", "Publish", "encodable")

Publish: TypeAlias = Callable[[Sequence[Record]], Coroutine[Any, Any, Mapping[int, LayerError]]]
"""Publishes and returns what failed, by position."""


def encodable(letter: Record) -> Record:
    r"""Return `letter` with whatever is no Unicode written out: a reason may have any text.

    What came off the wire as bytes that are no UTF-8 leaves as it came; in the names of headers,
    where Kafka's client takes text only, it is written out, too (`\\udcff`).
    """
    headers = {_written_out(name): _any_bytes(text) for name, text in letter.headers.items()}
    key = letter.key if letter.key is None else _any_bytes(letter.key)
    return msgspec.structs.replace(letter, headers=headers, key=key, id=_any_bytes(letter.id))


def _written_out(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _any_bytes(text: str) -> str:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _written_out(text)
    return text


class DeadLetters:
    """Sends the dead letter of each message once, however often it is rejected."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._sent: Final[set[Token]] = set()
        """Of what is held: whose dead letter is there already."""

    async def send(
        self, batch: Sequence[Settlement], held: Container[Token]
    ) -> Mapping[int, LayerError]:
        """Publish the dead letters of `batch`; return what happened to those that failed."""
        if not any(settlement.dead_letter for settlement in batch):
            return {}
        letters = {
            i: letter
            for i, settlement in enumerate(batch)
            if (letter := settlement.dead_letter) is not None
            and settlement.token in held
            and settlement.token not in self._sent
        }
        failures = await self._publish(list(letters.values()))
        refused = {i: failures[n] for n, i in enumerate(letters) if n in failures}
        self._sent.update(batch[i].token for i in letters if i not in refused)
        return refused

    def forget(self, tokens: Sequence[Token]) -> None:
        """Note that `tokens` are not held any more."""
        if self._sent:
            self._sent.difference_update(tokens)
