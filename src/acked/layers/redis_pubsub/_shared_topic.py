"""What somebody listens to: who they are, and what the server said."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from acked.errors import LayerError
from acked.layers.redis_pubsub._connection import Kind
from acked.layers.redis_pubsub._listener import RedisListener

__all__ = ("SharedTopic", "answer_all")

_Answer: TypeAlias = "asyncio.Future[LayerError | None]"


class SharedTopic:
    """One topic or pattern: who listens, and whether the server has confirmed it."""

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind: Final = kind
        self.name: Final = name
        self.listeners: dict[RedisListener, Sequence[Callable[[str], bool]]] = {}
        """Each with its patterns before this one: what they match, it gets by them."""
        self.is_confirmed = False
        """Whether the server has confirmed it on the present connection."""
        self._waiting: list[_Answer] = []

    def answer(self) -> "_Answer":
        """Return what is done when the server has answered; one for each that waits to be in."""
        # Not one for all: to wait for that without cancelling it is a turn of the loop more.
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        return answer

    def settle(self, error: LayerError | None) -> None:
        """Let those go on that wait to be in."""
        waiting, self._waiting = self._waiting, []
        self.is_confirmed = error is None
        answer_all(waiting, error)


def answer_all(answers: Iterable[_Answer], error: LayerError | None) -> None:
    """Tell those who wait for `answers` what came of it."""
    for answer in answers:
        if not answer.done():  # cancelled with the task that waited
            answer.set_result(error)
