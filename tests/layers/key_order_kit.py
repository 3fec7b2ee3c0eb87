"""What a queue in the order of keys may hand out, as a machine that knows it by counting."""

from typing import Any, Final, NamedTuple

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

LEASE: Final = 10.0
CONSUMERS: Final = 2


class Owed(NamedTuple):
    """A message that is owed: who has it and until when, or nobody and from when on."""

    key: str | None
    holder: int | None = None
    until: float = 0.0
    token: Any = None


class KeyOrderMachine(RuleBasedStateMachine):
    """Two consumers of one group; a subclass has the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.owed: dict[int, Owed] = {}
        self.unread: set[int] = set()

    @initialize()
    def open(self) -> None:
        self.begin()

    # What a queue can do.

    def begin(self) -> None:
        raise NotImplementedError

    def publish(self, key: str | None) -> int:
        raise NotImplementedError

    def claim(self, consumer: int, limit: int) -> list[tuple[int, Any]]:
        raise NotImplementedError

    def ack(self, consumer: int, token: Any) -> None:
        raise NotImplementedError

    def nack(self, consumer: int, token: Any, delay: float) -> None:
        raise NotImplementedError

    def release(self, consumer: int, token: Any) -> None:
        raise NotImplementedError

    def lag(self) -> int:
        raise NotImplementedError

    def check(self, consumer: int, limit: int, got: list[int]) -> None:
        """See that a claim brought what it may; a subclass may know of another order of keys."""
        del consumer
        assert got == self.free()[:limit]

    # What is done with it.

    @rule(keys=st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=6))
    def somebody_publishes(self, keys: list[str | None]) -> None:
        for key in keys:
            number = self.publish(key)
            self.owed[number] = Owed(key)
            self.unread.add(number)

    @rule(consumer=st.integers(0, CONSUMERS - 1), limit=st.integers(1, 5))
    def somebody_claims(self, consumer: int, limit: int) -> None:
        for number, one in self.owed.items():
            if one.until <= self.now and one.holder != consumer:
                self.owed[number] = Owed(one.key)
        got = self.claim(consumer, limit)
        self.check(consumer, limit, [number for number, _ in got])
        for number, token in got:
            key = self.owed[number].key
            self.owed[number] = Owed(key, consumer, self.now + LEASE, token)
            self.unread.discard(number)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), verb=st.sampled_from(["ack", "nack", "delay", "release"]))
    def somebody_settles(self, data: st.DataObject, verb: str) -> None:
        number = data.draw(st.sampled_from(self.held()))
        one = self.owed.pop(number)
        assert one.holder is not None
        if verb == "ack":
            self.ack(one.holder, one.token)
            return
        delay = 5.0 if verb == "delay" else 0.0
        if verb == "release":
            self.release(one.holder, one.token)
        else:
            self.nack(one.holder, one.token, delay)
        self.owed[number] = Owed(one.key, until=self.now + delay if delay else 0.0)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_two_of_a_key_are_out(self) -> None:
        keys = [one.key for one in self.owed.values() if one.holder is not None and one.key]
        assert len(keys) == len(set(keys))

    @invariant()
    def what_was_never_given_out_is_the_lag(self) -> None:
        if hasattr(self, "queue"):
            assert self.lag() == len(self.unread)

    def held(self) -> list[int]:
        return [number for number, one in self.owed.items() if one.holder is not None]

    def free(self) -> list[int]:
        """Return what may come: the first owed of each key, and all without one."""
        seen: set[str] = set()
        free: list[int] = []
        for number, one in sorted(self.owed.items()):
            is_first = one.key is None or one.key not in seen
            if one.key is not None:
                seen.add(one.key)
            if is_first and one.holder is None and one.until <= self.now:
                free.append(number)
        return free
