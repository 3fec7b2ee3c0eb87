"""One consumer of a group: its names, what it holds, and the groups it belongs to."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from acked.clocks import SystemClock
from acked.errors import LayerError
from acked.layers._redis.scripts import Run, Script, ScriptCall
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import TokenOf
from acked.layers.redis_streams._scripts import CREATE, FREE, REMOVE
from acked.types import Start, Verb

__all__ = ("LISTENERS", "ConsumerState", "logger")

logger: Final = logging.getLogger("acked.layers.redis_streams")

ALIVE: Final = 15_000
"""Milliseconds: a consumer that lives gives a sign every five seconds."""
LISTENERS: Final = b"acked-news-"
"""What `acked.fire_and_forget` lets the names of its groups begin with: one listener's each."""


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
        keep_settled: float | None = None,
        in_key_order: bool = False,
    ) -> None:
        self.places: Final = {topic: group_keys(topic, group) for topic in topics}
        self.group: Final = group.encode()
        self.lease: Final = lease
        self.keep_settled: Final = keep_settled
        self.in_key_order: Final = in_key_order
        # Others have to know for how long we may be silent, whatever their own lease is, and that
        # we hand out nothing that is in no lane.
        name = f"{consumer}~k" if in_key_order else consumer
        self.consumer: Final = f"{name}~{max(1, round(lease * 1000))}".encode()
        self.clock: Final = SystemClock()
        self.known: Final[dict[TokenOf, float]] = {}
        """What was handed to the engine and is not settled, as far as we know, and until when at
        least it is ours."""
        self.unconfirmed: Final[dict[TokenOf, Verb]] = {}
        """Of these, what a settlement that nobody answered was to do."""
        self.lags: Final[dict[str, int | None]] = dict.fromkeys(self.places)
        """Of each topic how much the group has not read, as the server told last."""
        self.last_ids: Final[dict[str, bytes]] = {}
        """Of each topic the entry that the group was given last, as the server told."""
        self.trimmed = 0
        self._on_trimmed = on_trimmed

    def call(self, script: Script, topic: str, *arguments: bytes) -> ScriptCall:
        """Return the call of `script` for `topic`."""
        return self.call_for_all(script, [topic], *arguments)

    def call_for_all(self, script: Script, topics: Iterable[str], *arguments: bytes) -> ScriptCall:
        """Return the call of `script` for several topics at once."""
        keys = tuple(key for topic in topics for key in self.places[topic].keys)
        return ScriptCall(script, keys, (self.group, self.consumer, *arguments))

    def hold(self, tokens: Iterable[TokenOf], until: float) -> None:
        """Note that `tokens` are ours until then."""
        self.known.update(dict.fromkeys(tokens, until))

    def forget(self, tokens: Iterable[TokenOf]) -> None:
        """Note that `tokens` are not ours any more."""
        for token in tokens:
            self.known.pop(token, None)
            if self.unconfirmed:
                self.unconfirmed.pop(token, None)

    def was_settled(self, token: TokenOf, verb: Verb, now: float) -> bool:
        """Say whether `token`, not ours at `now`, was settled by a try that nobody answered.

        Until its lease has ended nobody else can have taken it.
        """
        return self.unconfirmed.get(token) is verb and now < self.known.get(token, 0.0)

    def overdue(self) -> Sequence[TokenOf]:
        """Return what nobody answered a settlement of, and whose lease has ended since."""
        if not self.unconfirmed:
            return ()
        now = self.clock.time()
        return [token for token in self.unconfirmed if self.known.get(token, 0.0) < now]

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
        """Remove the groups; raises `LayerError`, before any is gone, where a consumer lives."""
        for deed in (b"ask", b"remove"):
            calls = [
                ScriptCall(REMOVE, place.keys, (self.group, FREE, b"%d" % ALIVE, deed))
                for place in self.places.values()
            ]
            for topic, reply in zip(self.places, await run(calls), strict=True):
                if isinstance(reply, LayerError):
                    raise reply
                if reply == 0:
                    raise LayerError(
                        f"a consumer of group {self.group.decode()!r} lives or holds messages of "
                        f"{topic!r}; close its consumers before removing it (one that was "
                        f"killed counts as living for {ALIVE // 1000} s, and what it held is free "
                        "when claimed)"
                    )

    async def heal(self, run: Run, topics: Iterable[str]) -> None:
        """Create again what somebody deleted: from the beginning, since any other place skips.

        A listener, which was forgotten after a long silence, goes on where it was.
        """
        is_listener = self.group.startswith(LISTENERS)
        logger.warning(
            "group %r was deleted, or a stream it reads (%s): created again from %s",
            self.group.decode(),
            ", ".join(topics),
            "where it was" if is_listener else "the beginning; what is still there comes again",
        )
        for topic in topics:
            known = self.last_ids.get(topic, b"$") if is_listener else b"0"
            await self._create(run, [topic], known)

    async def _create(self, run: Run, topics: Iterable[str], start: bytes) -> None:
        for reply in await run([self.call(CREATE, topic, start) for topic in topics]):
            if isinstance(reply, LayerError):
                raise reply


def _start_id(start: Start) -> bytes:
    """Return the id after which a new group begins; ids begin with the server's milliseconds."""
    if start.kind == "latest":
        return b"$"
    # The whole of its millisecond: what was published at that moment may have such an id.
    first = int(start.time * 1000) if start.kind == "time" else 0
    return b"%d-18446744073709551615" % (first - 1) if first > 0 else b"0"
