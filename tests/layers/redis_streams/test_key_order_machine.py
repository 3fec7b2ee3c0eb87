"""The order of keys in a stream is what a machine counts it to be, whoever was cut while it read.

The scripts are called as a consumer calls them; the server believes what the machine says the time is.
"""

from functools import partial
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from acked.layers._redis.scripts import Script
from acked.layers.redis_streams import _scripts as scripts
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import fields_of, lease_of
from acked.types import Record
from tests.layers.key_order_kit import LEASE, KeyOrderMachine, Owed
from tests.layers.redis_streams.kit import Oracle, fresh

CONSUMERS = [b"one~k~%d" % (LEASE * 1000), b"other~k~%d" % (LEASE * 1000)]


class RedisKeyOrder(KeyOrderMachine):
    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle = oracle
        self.place = group_keys(fresh("stream"), "g")
        self.ids: list[bytes] = []
        self.passed = self.now

    def teardown(self) -> None:
        self.oracle.delete(*self.place.keys)

    def run(self, script: Script, consumer: int, *words: object) -> Any:
        keys = self.place.keys
        return self.oracle.eval(
            script.source, len(keys), *keys, self.place.group, CONSUMERS[consumer], *words
        )

    def begin(self) -> None:
        self.run(scripts.CREATE, 0, "0")

    def publish(self, key: str | None) -> int:
        fields = fields_of(Record("t", b"", "id", key))
        self.ids.append(self.oracle.execute_command("XADD", self.place.stream, "*", *fields))
        return len(self.ids) - 1

    def claim(self, consumer: int, limit: int) -> list[tuple[int, Any]]:
        self._let_time_pass()
        got = self._recovered(consumer, limit)
        more = 1
        while more and len(got) < limit:
            # A look goes on where the one before it ended: then it takes another to see all.
            is_half = not (self.oracle.get(self.place.scan) or b" ").endswith(b" ")
            numbers = (LEASE * 1000, 0, 600_000, limit - len(got), 0)
            ((entries, trimmed, _, more),) = self.run(scripts.CLAIM, consumer, *map(int, numbers))
            more = more or is_half
            assert trimmed == 0
            got += [self._told(entry, count) for entry, count, _ in entries]
        more = 1
        while more and len(got) < limit:
            more, told = self.run(scripts.READ_IN_ORDER, consumer, limit - len(got))
            got += [self._told(entry, 1) for _, entries in told for entry, _ in entries]
        return got

    def ack(self, consumer: int, token: Any) -> None:
        assert self.run(scripts.ACK, consumer, token) == [[], 0]

    def nack(self, consumer: int, token: Any, delay: float) -> None:
        self._let_time_pass()
        self._give_back(consumer, token, int(delay * 1000), scripts.FAILURE)

    def release(self, consumer: int, token: Any) -> None:
        self._give_back(consumer, token, 0, -1)

    def check(self, consumer: int, limit: int, got: list[int]) -> None:
        """See that as many come as may: what nobody saw, what came back and what is new."""
        unseen = [number for number in self.unseen() if self.owed[number].holder == consumer]
        allowed = {*unseen, *self.free()}
        assert set(got) <= allowed
        assert len(got) == len(set(got)) == min(limit, len(allowed))

    @precondition(lambda self: self.unread)
    @rule(consumer=st.integers(0, 1), count=st.integers(1, 4))
    def somebody_is_cut_while_it_waits(self, consumer: int, count: int) -> None:
        """A read that blocked brought some, and nobody saw them."""
        self._let_time_pass()
        words = (CONSUMERS[consumer], "COUNT", count, "STREAMS", self.place.stream, ">")
        told = self.oracle.execute_command("XREADGROUP", "GROUP", self.place.group, *words)
        read = [self.ids.index(row[0]) for row in (told[0][1] if told else [])]
        for number in read:
            one = self.owed[number]
            earlier = (key for n, key in self._owed_keys() if n < number)
            if one.key is None or one.key not in earlier:
                self.owed[number] = Owed(one.key, consumer, self.now + LEASE)

    def held(self) -> list[int]:
        return [n for n, one in self.owed.items() if one.token is not None]

    def unseen(self) -> list[int]:
        return [n for n, one in self.owed.items() if one.holder is not None and one.token is None]

    def _owed_keys(self) -> list[tuple[int, str | None]]:
        return [(n, one.key) for n, one in self.owed.items()]

    def _recovered(self, consumer: int, limit: int) -> list[tuple[int, Any]]:
        while self.run(scripts.READ_IN_ORDER, consumer, 0)[0]:
            pass
        known = {one.token for one in self.owed.values() if one.holder == consumer}
        place, name = self.place, CONSUMERS[consumer]
        rows = self.oracle.xpending_range(place.stream, place.group, "-", "+", 1000, name)
        leases = [lease_of(row["message_id"], row["times_delivered"]) for row in rows]
        unknown = [lease for lease in leases if lease not in known][:limit]
        if not unknown:
            return []
        entries, trimmed = self.run(scripts.RECOVER, consumer, 0, *unknown)
        assert trimmed == 0
        return [self._told(entry, count) for entry, count, _ in entries]

    def _told(self, entry: bytes, count: int) -> tuple[int, bytes]:
        return self.ids.index(entry), lease_of(entry, count)

    def _give_back(self, consumer: int, token: bytes, delay: int, charge: int) -> None:
        assert self.run(scripts.REQUEUE, consumer, delay, charge, token) == [[], 0]

    def _let_time_pass(self) -> None:
        """Let what is held or waits be older by what has passed."""
        by, self.passed = round((self.now - self.passed) * 1000), self.now
        place = self.place
        for row in (
            self.oracle.xpending_range(place.stream, place.group, "-", "+", 1000) if by else ()
        ):
            at, idle = [row["message_id"]], row["time_since_delivered"] + by
            self.oracle.xclaim(
                place.stream, place.group, row["consumer"], 0, at, idle=idle, justid=True
            )
        for entry, _ in self.oracle.zscan_iter(place.until) if by else ():
            self.oracle.zincrby(place.until, -by, entry)


def test_whoever_is_cut_each_key_is_in_its_order(oracle: Oracle) -> None:
    run_state_machine_as_test(
        partial(RedisKeyOrder, oracle),
        settings=settings(max_examples=25, stateful_step_count=40, deadline=None),
    )
