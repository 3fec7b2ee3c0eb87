"""The feed of one consumer: receives by its intake, settles over the pooled connections."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final, cast

import anyio

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.client import Client
from acked.layers._redis.connection import CLOSE_WITHIN
from acked.layers._redis.errors import group_is_missing, says
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._key_order import ReceiverInOrder
from acked.layers.redis_streams._multi_slot import MultiSlotReceiver
from acked.layers.redis_streams._plan import Plan, Planner
from acked.layers.redis_streams._pulse import Pulse
from acked.layers.redis_streams._receiver import Receiver
from acked.layers.redis_streams._records import TokenOf, as_ours, letter_of, noted_alone
from acked.layers.redis_streams._scripts import (
    ACK,
    ACK_TOGETHER,
    DEAD_LETTER,
    EXTEND,
    NOTE_ALONE,
    REQUEUE,
)
from acked.types import Leased, Outcome, Record, Reply, Settlement, Token

__all__ = ("RedisStreamsFeed",)

_LOST: Final = Outcome.LOST
_CONFIRMED: Final = Outcome.CONFIRMED


class RedisStreamsFeed:
    """One consumer of a group, for as long as `RedisStreamsLayer.consume` is entered."""

    def __init__(self, way: Client, seat: ConsumerState) -> None:
        self._way = way
        self._seat = seat
        self._pulse = Pulse(way, seat)
        self._pulse.start()
        kind = ReceiverInOrder if seat.in_key_order else Receiver
        together = way.together(seat.places)
        self._planner = Planner(seat, together)
        parts = [kind(way, seat, topics) for topics in together]
        self._intake = (
            parts[0]
            if len(parts) == 1
            else MultiSlotReceiver(parts, seat, self.extend, self.release)
        )

    def __repr__(self) -> str:
        seat = self._seat
        return (
            f"<RedisStreamsFeed {seat.consumer.decode()} of group {seat.group.decode()!r}, "
            f"{len(seat.known)} held>"
        )

    @property
    def leased_at(self) -> float:
        """A moment before the leases of what `receive` has returned last began."""
        return self._intake.leased_at

    @property
    def failing(self) -> LayerError | None:
        """Why a part of a cluster has brought nothing for long, though others may; else None."""
        return self._intake.failing

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

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Reply]:
        """Carry out `batch`: one script for the acks of a topic, fenced by owner and attempt."""
        tokens = as_ours([settlement.token for settlement in batch])
        began = self._seat.clock.time()
        replies: list[Reply] = [_CONFIRMED] * len(batch)
        plan, apart = self._planner.plan(batch, tokens), Plan()
        for (call, members), reply in zip(plan, await self._replies(plan), strict=True):
            if call.script is ACK_TOGETHER and not isinstance(reply, LayerError):
                apart += self._judge_each(members, tokens, reply, replies)
            elif call.script is DEAD_LETTER and says(reply, "same slot"):
                (member,) = members
                replies[member] = await self._dead_letter_elsewhere(batch[member])
            else:
                self._judge(call.keys[0], members, reply, replies)
        for (call, members), reply in zip(apart, await self._replies(apart), strict=True):
            self._judge(call.keys[0], members, reply, replies)
        for i, settlement in enumerate(batch):
            if settlement.dead_letter is not None and not self._planner.fits(
                settlement.dead_letter
            ):
                replies[i] = await self._dead_letter_elsewhere(settlement)
        self._note(batch, tokens, replies, began)
        return replies

    async def extend(self, tokens: Sequence[Token], seconds: float) -> Sequence[Reply]:
        """Let the leases of `tokens` end in `seconds`: by their idle time, or by a moment."""
        ours = as_ours(list(tokens))
        idle = max(0, round((self._seat.lease - seconds) * 1000))
        longer = math.ceil(seconds * 1000) if seconds > self._seat.lease else 0
        plan = self._planner.same_for_all(EXTEND, ours, b"%d" % idle, b"%d" % longer)
        outcomes: list[Reply] = [_CONFIRMED] * len(tokens)
        until = self._seat.clock.time() + seconds
        replies = await self._way.run([call for call, _ in plan])
        if replies and all(isinstance(reply, ConnectionLost) for reply in replies):
            raise cast("ConnectionLost", replies[0])
        for (call, members), reply in zip(plan, replies, strict=True):
            self._judge(call.keys[0], members, reply, outcomes)
        # What was lost to a settlement that nobody answered is still to be decided.
        open_ones = self._seat.unconfirmed
        pairs = [*zip(ours, outcomes, strict=True)]
        self._seat.forget([one for one, was in pairs if was is _LOST and one not in open_ones])
        self._seat.hold([one for one, was in pairs if was is _CONFIRMED], until)
        return outcomes

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give `tokens` back to the group, with the attempt they were handed out with taken off."""
        ours = as_ours(list(tokens))
        plan = self._planner.same_for_all(REQUEUE, ours, b"0", b"-1")
        outcomes: list[Reply] = [_CONFIRMED] * len(tokens)
        for (call, members), reply in zip(plan, await self._replies(plan), strict=True):
            self._judge(call.keys[0], members, reply, outcomes)
        pairs = zip(ours, outcomes, strict=True)
        self._seat.forget([one for one, was in pairs if isinstance(was, Outcome)])

    async def note_alone(self, token: Token, /, *, alone: bool) -> Token | None:
        """Note that `token` is handled alone, or not; see `acked.abc.LastChanceFeed`."""
        (ours,) = as_ours([token])
        noted = noted_alone(ours, alone=alone)
        # Race: who looks meanwhile for what we own and do not know of must know it by both names.
        self._seat.hold([noted], self._seat.clock.time() + self._seat.lease)
        (reply,) = await self._way.run([self._seat.call(NOTE_ALONE, *ours, b"%d" % alone)])
        if isinstance(reply, LayerError):
            raise reply
        self._seat.forget([ours] if reply else [ours, noted])
        return noted if reply else None

    async def leave(self) -> None:
        """Give back what is left and delete this consumer; leases do it if the server is gone."""
        with anyio.move_on_after(CLOSE_WITHIN, shield=True):
            await self._pulse.stop()
            await self._intake.leave()

    async def _dead_letter_elsewhere(self, settlement: Settlement) -> Reply:
        """Copy first, then ack: for what a script cannot do.

        The dead letters are in another hash slot of a cluster, or have too many fields. The
        extension says beforehand whether the message is ours, so that a stale rejection publishes
        nothing.
        """
        letter = cast("Record", settlement.dead_letter)
        try:
            (reply,) = await self.extend([settlement.token], self._seat.lease)
            if reply is _CONFIRMED:
                await self._way.ask(b"XADD", letter.topic.encode(), b"*", *letter_of(letter))
                plan = self._planner.same_for_all(ACK, as_ours([settlement.token]))
                replies: list[Reply] = [_CONFIRMED]
                for (call, members), said in zip(plan, await self._replies(plan), strict=True):
                    self._judge(call.keys[0], members, said, replies)
                (reply,) = replies
        except LayerError as error:
            return error
        return reply

    async def _replies(self, plan: Plan) -> list[object]:
        """Return what `Client.run` does; where nothing could be sent, that error for each."""
        try:
            return await self._way.run([call for call, _ in plan])
        except LayerError as error:
            return [error] * len(plan)

    def _judge(
        self, stream: bytes, members: list[int], reply: object, replies: list[Reply]
    ) -> None:
        """Write what `reply` says of the settlements in `stream`, at the positions `members`."""
        if not isinstance(reply, LayerError):
            lost, trimmed = cast("tuple[list[int], int]", reply)
            for position in lost:
                replies[members[position - 1]] = _LOST
            self._seat.note_trimmed(stream.decode(), trimmed)
            return
        for member in members:
            replies[member] = _LOST if group_is_missing(reply) else reply

    def _judge_each(
        self, members: list[int], tokens: list[TokenOf], reply: object, replies: list[Reply]
    ) -> Plan:
        """Do so for the streams of one call; return what to ask of those that were refused."""
        apart = Plan()
        by_topic = groupby(members, lambda i: tokens[i][0])
        for (topic, some), told in zip(by_topic, cast("Sequence[object]", reply), strict=True):
            if told == 0:
                apart += self._planner.calls(ACK, topic, [*some], tokens)
            else:
                self._judge(self._seat.places[topic].stream, [*some], told, replies)
        return apart

    def _note(
        self,
        batch: Sequence[Settlement],
        tokens: list[TokenOf],
        replies: list[Reply],
        began: float,
    ) -> None:
        """Decide what was tried before without an answer, and note what is ours no more."""
        seat = self._seat
        if not seat.unconfirmed and replies.count(_CONFIRMED) == len(replies):
            seat.forget(tokens)
            return
        if seat.unconfirmed:
            for i, (settlement, token) in enumerate(zip(batch, tokens, strict=True)):
                if replies[i] is _LOST and seat.was_settled(token, settlement.verb, began):
                    replies[i] = _CONFIRMED
        done: list[TokenOf] = []
        for settlement, token, reply in zip(batch, tokens, replies, strict=True):
            if isinstance(reply, Outcome):
                done.append(token)
            elif isinstance(reply, ConnectionLost) and token in seat.known:
                seat.unconfirmed.setdefault(token, settlement.verb)
        seat.forget(done)
