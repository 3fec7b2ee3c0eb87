"""Which scripts carry out a batch: one for the acks of a stream, or of many that have few."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from acked.layers._redis.scripts import Script, ScriptCall
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._records import TokenOf, letter_of
from acked.layers.redis_streams._scripts import ACK, ACK_TOGETHER, DEAD_LETTER, FAILURE, REQUEUE
from acked.types import Record, Settlement, Verb

__all__ = ("Plan", "Planner")

LARGEST_CALL: Final = 1000
"""Leases in one call of a script: the server does nothing else meanwhile."""
LARGEST_ROUND: Final = 200
"""Streams in one call of a script."""
FEW: Final = LARGEST_CALL // LARGEST_ROUND
"""Up to so many acks of a stream go with those of others; more are worth a script of their own."""
MOST_FIELDS: Final = 7000
"""Names and values that a script can take apart (Lua's stack has 8,000 places)."""
Plan: TypeAlias = list[tuple[ScriptCall, list[int]]]
"""Calls, each with the positions of the settlements or tokens it is about."""


class Planner:
    """Plans for one feed; `together` has its topics by what one script can reach."""

    def __init__(self, seat: ConsumerState, together: Iterable[Iterable[str]]) -> None:
        self._seat = seat
        self._part_of = {topic: n for n, topics in enumerate(together) for topic in topics}

    def __repr__(self) -> str:
        return f"<Planner of {len(self._part_of)} topics>"

    def plan(self, batch: Sequence[Settlement], tokens: list[TokenOf]) -> Plan:
        """Return the calls that carry out `batch`, each with the positions of its members."""
        topics, verbs = {topic for topic, _ in tokens}, {one.verb for one in batch}
        if verbs == {Verb.ACK} and len(topics) == 1:  # as a rule, and then no loop of ours
            return list(self.calls(ACK, topics.pop(), list(range(len(batch))), tokens))
        acks: defaultdict[str, list[int]] = defaultdict(list)
        nacks: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        plan: Plan = []
        for i, settlement in enumerate(batch):
            topic, lease = tokens[i]
            if settlement.verb is Verb.NACK:
                # The server's clock is read in whole milliseconds: one more keeps the promise.
                delay = math.ceil(settlement.delay * 1000) + 1 if settlement.delay > 0 else 0
                nacks[topic, delay].append(i)
            elif settlement.dead_letter is None:
                acks[topic].append(i)
            elif self.fits(settlement.dead_letter):
                plan.append((self._letter_call(topic, lease, settlement.dead_letter), [i]))
        plan += self._acks(acks, tokens)
        for (topic, delay), members in nacks.items():
            plan += self.calls(REQUEUE, topic, members, tokens, b"%d" % delay, b"%d" % FAILURE)
        return plan

    def _acks(
        self, acks: Mapping[str, list[int]], tokens: list[TokenOf]
    ) -> Iterable[tuple[ScriptCall, list[int]]]:
        """Put together the acks of streams with few that are on one server."""
        parts: defaultdict[int, list[str]] = defaultdict(list)
        for topic, members in acks.items():
            if len(members) > FEW or len(acks) == 1:
                yield from self.calls(ACK, topic, members, tokens)
            else:
                parts[self._part_of[topic]].append(topic)
        for topics in parts.values():
            for start in range(0, len(topics), LARGEST_ROUND):
                some, words = topics[start : start + LARGEST_ROUND], list[bytes]()
                for topic in some:
                    words += (b"%d" % len(acks[topic]), *(tokens[i][1] for i in acks[topic]))
                members = [i for topic in some for i in acks[topic]]
                yield self._seat.call_for_all(ACK_TOGETHER, some, *words), members

    def same_for_all(self, script: Script, tokens: list[TokenOf], *arguments: bytes) -> Plan:
        """Return the calls of one script for `tokens`, for each topic its own."""
        by_topic: defaultdict[str, list[int]] = defaultdict(list)
        for i, (topic, _) in enumerate(tokens):
            by_topic[topic].append(i)
        plan: Plan = []
        for topic, members in by_topic.items():
            plan += self.calls(script, topic, members, tokens, *arguments)
        return plan

    def calls(
        self,
        script: Script,
        topic: str,
        members: list[int],
        tokens: list[TokenOf],
        *arguments: bytes,
    ) -> Iterable[tuple[ScriptCall, list[int]]]:
        """Give the calls of one script for those of a topic at the positions `members`."""
        for start in range(0, len(members), LARGEST_CALL):
            some = members[start : start + LARGEST_CALL]
            yield self._seat.call(script, topic, *arguments, *[tokens[i][1] for i in some]), some

    @staticmethod
    def fits(letter: Record) -> bool:
        """Say whether a script can write `letter`."""
        return len(letter.headers) * 2 < MOST_FIELDS

    def _letter_call(self, topic: str, lease: bytes, letter: Record) -> ScriptCall:
        call = self._seat.call(DEAD_LETTER, topic, lease, *letter_of(letter))
        return call._replace(keys=(*call.keys, letter.topic.encode()))
