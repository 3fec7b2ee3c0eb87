"""One consumer of a group: its names, what it holds, and the groups it belongs to."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from acked.errors import LayerError
from acked.layers._redis.scripts import Run, Script, ScriptCall
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import TokenOf
from acked.layers.redis_streams._scripts import CREATE, FREE, REMOVE
from acked.types import Start

__all__ = ("ConsumerState", "logger")

logger: Final = logging.getLogger("acked.layers.redis_streams")


class ConsumerState:
    """What the two halves of a feed, receiving and settling, have in common."""

    def __init__(
        self,
        topics: Iterable[str],
        group: str,
        consumer: str,
        *,
        lease: float,
        on_trimmed: Callable[[int], None],
    ) -> None:
        self.places: Final = {topic: group_keys(topic, group) for topic in topics}
        self.group: Final = group.encode()
        self.consumer: Final = consumer.encode()
        self.lease: Final = lease
        self.known: Final[set[TokenOf]] = set()
        """What was handed to the engine and is not settled, as far as we know."""
        self.lags: Final[dict[str, int | None]] = dict.fromkeys(self.places)
        """Of each topic how much the group has not read, as the server told last."""
        self.trimmed = 0
        self._on_trimmed = on_trimmed

    def call(self, script: Script, topic: str, *arguments: bytes) -> ScriptCall:
        """Return the call of `script` for `topic`."""
        place = self.places[topic]
        return ScriptCall(script, place[:4], (self.group, self.consumer, *arguments))

    def known_leases(self, topic: str) -> bytes:
        """Return the leases of `topic` that we know of, with spaces between."""
        return b" ".join([lease for of, lease in self.known if of == topic])

    def note_trimmed(self, topic: str, count: int) -> None:
        """Count and report what the stream's trimming took from the group."""
        if count:
            self.trimmed += count
            self._on_trimmed(count)
            logger.warning(
                "%d message(s) of %r were trimmed away before group %r had settled them: they "
                "are lost; keep more of the stream (maxlen)",
                count,
                topic,
                self.group.decode(),
            )

    async def join(self, run: Run, start: Start) -> None:
        """Create the groups that do not exist yet; raises `LayerError` where that fails."""
        await self._create(run, self.places, _start_id(start))

    async def remove(self, run: Run) -> None:
        """Remove the groups; raises `LayerError` where a consumer holds something of them."""
        calls = [
            ScriptCall(REMOVE, place[:4], (self.group, FREE)) for place in self.places.values()
        ]
        for topic, reply in zip(self.places, await run(calls), strict=True):
            if isinstance(reply, LayerError):
                raise reply
            if reply == 0:
                raise LayerError(
                    f"group {self.group.decode()!r} holds messages of {topic!r}; close its "
                    "consumers before removing it (what a dead one held is free when claimed)"
                )

    async def heal(self, run: Run, topics: Iterable[str]) -> None:
        """Create again what somebody deleted: from the beginning, since any other place skips."""
        logger.warning(
            "group %r was deleted, or a stream it reads (%s): created again from the beginning; "
            "what is still there comes again",
            self.group.decode(),
            ", ".join(topics),
        )
        await self._create(run, topics, b"0")

    async def _create(self, run: Run, topics: Iterable[str], start: bytes) -> None:
        for reply in await run([self.call(CREATE, topic, start) for topic in topics]):
            if isinstance(reply, LayerError):
                raise reply


def _start_id(start: Start) -> bytes:
    """Return the id after which a new group begins; ids begin with the server's milliseconds."""
    if start.kind == "latest":
        return b"$"
    first = int(-(-start.time * 1000 // 1)) if start.kind == "time" else 0
    return b"%d-18446744073709551615" % (first - 1) if first > 0 else b"0"
