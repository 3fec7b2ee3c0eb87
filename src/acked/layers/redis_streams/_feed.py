"""The feed of one consumer: receives by its intake, settles over the pooled connections."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.cluster import Client
from acked.layers._redis.connection import CLOSE_WITHIN
from acked.layers._redis.errors import group_is_missing, says
from acked.layers._redis.scripts import Script, ScriptCall
from acked.layers.redis_streams._consumer_state import ConsumerState, logger
from acked.layers.redis_streams._multi_slot import MultiSlotReceiver
from acked.layers.redis_streams._receiver import Receiver
from acked.layers.redis_streams._records import TokenOf, as_ours, fields_of
from acked.layers.redis_streams._scripts import ACK, DEAD_LETTER, EXTEND, REQUEUE
from acked.types import Leased, Outcome, Record, Settlement, Token, Verb

__all__ = ("RedisStreamsFeed",)

LARGEST_CALL: Final = 1000
"""Leases in one call of a script: the server does nothing else meanwhile."""
_NACK: Final = Verb.NACK
_LOST: Final = Outcome.LOST
_UNKNOWN: Final = Outcome.UNKNOWN

_Plan: TypeAlias = list[tuple[ScriptCall, list[int]]]
"""Calls, each with the positions of the settlements or tokens it is about."""


class RedisStreamsFeed:
    """One consumer of a group, for as long as `RedisStreamsLayer.consume` is entered."""

    def __init__(self, way: Client, seat: ConsumerState) -> None:
        self._way = way
        self._seat = seat
        parts = [Receiver(way, seat, topics) for topics in way.together(seat.places)]
        self._intake = parts[0] if len(parts) == 1 else MultiSlotReceiver(parts, seat, self.extend)

    def __repr__(self) -> str:
        seat = self._seat
        return (
            f"<RedisStreamsFeed {seat.consumer.decode()} of group {seat.group.decode()!r}, "
            f"{len(seat.known)} held>"
        )

    @property
    def trimmed(self) -> int:
        """How many messages owed to the group this consumer found trimmed away, so lost."""
        return self._seat.trimmed

    def lag(self) -> int | None:
        """Return what nobody of the group has read yet, as the server told seconds ago."""
        lags = [lag for lag in self._seat.lags.values() if lag is not None]
        return sum(lags) if len(lags) == len(self._seat.lags) else None

    async def receive(self, limit: int) -> Sequence[Leased]:
        """Return up to `limit` messages: left over, free again, or new, in this order."""
        return await self._intake.receive(limit)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Outcome]:
        """Carry out `batch`: one script for the acks of a topic, fenced by owner and attempt."""
        tokens = as_ours([settlement.token for settlement in batch])
        plan = self._plan(batch, tokens)
        outcomes = [Outcome.CONFIRMED] * len(batch)
        replies = await self._replies(plan)
        for (call, members), reply in zip(plan, replies, strict=True):
            if call.script is DEAD_LETTER and says(reply, "same slot"):
                (member,) = members
                outcomes[member] = await self._bury_elsewhere(batch[member])
            else:
                self._judge(call, members, reply, outcomes)
        self._forget(tokens, outcomes)
        return outcomes

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Outcome]:
        """Let the leases of `tokens` end in `seconds`: by their idle time, or by a moment."""
        ours = as_ours(list(tokens))
        idle = max(0, round((self._seat.lease - seconds) * 1000))
        longer = math.ceil(seconds * 1000) if seconds > self._seat.lease else 0
        plan = self._same_for_all(EXTEND, ours, b"%d" % idle, b"%d" % longer)
        outcomes = [Outcome.CONFIRMED] * len(tokens)
        replies = await self._way.run([call for call, _ in plan])
        if replies and all(isinstance(reply, ConnectionLost) for reply in replies):
            raise cast("ConnectionLost", replies[0])
        for (call, members), reply in zip(plan, replies, strict=True):
            self._judge(call, members, reply, outcomes)
        lost = [token for token, outcome in zip(ours, outcomes, strict=True) if outcome is _LOST]
        self._seat.known.difference_update(lost)
        return outcomes

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back to the group, with the attempt they were handed out with taken off."""
        ours = as_ours(list(tokens))
        plan = self._same_for_all(REQUEUE, ours, b"0", b"1")
        outcomes = [Outcome.CONFIRMED] * len(tokens)
        for (call, members), reply in zip(plan, await self._replies(plan), strict=True):
            self._judge(call, members, reply, outcomes)
        self._forget(ours, outcomes)

    async def leave(self) -> None:
        """Give back what is left and delete this consumer; leases do it if the server is gone."""
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await self._intake.leave()

    def _plan(self, batch: Sequence[Settlement], tokens: list[TokenOf]) -> _Plan:
        """Return the calls that carry out `batch`, each with the positions of its members."""
        acks: defaultdict[str, list[int]] = defaultdict(list)
        nacks: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        plan: _Plan = []
        for i, settlement in enumerate(batch):
            topic, lease = tokens[i]
            if settlement.verb is _NACK:
                # The server's clock is read in whole milliseconds: one more keeps the promise.
                delay = math.ceil(settlement.delay * 1000) + 1 if settlement.delay > 0 else 0
                nacks[topic, delay].append(i)
            elif settlement.dead_letter is None:
                acks[topic].append(i)
            else:
                plan.append((self._bury_call(topic, lease, settlement.dead_letter), [i]))
        for topic, members in acks.items():
            plan += self._calls(ACK, topic, members, tokens)
        for (topic, delay), members in nacks.items():
            plan += self._calls(REQUEUE, topic, members, tokens, b"%d" % delay, b"0")
        return plan

    def _same_for_all(self, script: Script, tokens: list[TokenOf], *arguments: bytes) -> _Plan:
        by_topic: defaultdict[str, list[int]] = defaultdict(list)
        for i, (topic, _) in enumerate(tokens):
            by_topic[topic].append(i)
        plan: _Plan = []
        for topic, members in by_topic.items():
            plan += self._calls(script, topic, members, tokens, *arguments)
        return plan

    def _calls(
        self,
        script: Script,
        topic: str,
        members: list[int],
        tokens: list[TokenOf],
        *arguments: bytes,
    ) -> Iterable[tuple[ScriptCall, list[int]]]:
        for start in range(0, len(members), LARGEST_CALL):
            some = members[start : start + LARGEST_CALL]
            yield self._seat.call(script, topic, *arguments, *[tokens[i][1] for i in some]), some

    def _bury_call(self, topic: str, lease: bytes, letter: Record) -> ScriptCall:
        call = self._seat.call(DEAD_LETTER, topic, lease, *fields_of(letter))
        return call._replace(keys=(*call.keys, letter.topic.encode()))

    async def _bury_elsewhere(self, settlement: Settlement) -> Outcome:
        """Bury where the dead letters are in another hash slot of a cluster: copy first, then ack.

        The extension says beforehand whether the message is ours, so that a stale rejection
        publishes nothing.
        """
        letter = cast("Record", settlement.dead_letter)
        try:
            (outcome,) = await self.extend([settlement.token], self._seat.lease)
            if outcome is Outcome.CONFIRMED:
                await self._way.ask(b"XADD", letter.topic.encode(), b"*", *fields_of(letter))
                (outcome,) = await self.settle([Settlement(settlement.token, Verb.ACK)])
        except LayerError as error:
            logger.warning("a dead letter was not published: %s", error)
            return Outcome.UNKNOWN
        return outcome

    async def _replies(self, plan: _Plan) -> list[object]:
        """Return what `Client.run` does; where nothing could be sent, that error for each."""
        try:
            return await self._way.run([call for call, _ in plan])
        except LayerError as error:
            return [error] * len(plan)

    def _judge(
        self, call: ScriptCall, members: list[int], reply: object, outcomes: list[Outcome]
    ) -> None:
        """Write what `reply` says of the settlements at the positions `members`."""
        if not isinstance(reply, LayerError):
            lost, trimmed = cast("tuple[list[int], int]", reply)
            for position in lost:
                outcomes[members[position - 1]] = Outcome.LOST
            self._seat.note_trimmed(call.keys[0].decode(), trimmed)
            return
        gone = group_is_missing(reply)
        if not gone and not isinstance(reply, ConnectionLost):
            logger.warning("%d message(s) were not settled: %s", len(members), reply)
        for member in members:
            outcomes[member] = Outcome.LOST if gone else Outcome.UNKNOWN

    def _forget(self, tokens: list[TokenOf], outcomes: list[Outcome]) -> None:
        """Note that of `tokens` only those with an unknown outcome may still be ours."""
        if _UNKNOWN in outcomes:
            pairs = zip(tokens, outcomes, strict=True)
            tokens = [token for token, outcome in pairs if outcome is not _UNKNOWN]
        self._seat.known.difference_update(tokens)
