"""F3: overflow equals a reference deque, exactly, with exact counts."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from acked._machines.overflow import BoundedBuffer
from acked.types import Gap, GapCause, Overflow


class Reference:
    """Every offered item in order, each marked kept or dropped: slow and obvious."""

    def __init__(self, capacity: int, policy: Overflow) -> None:
        self.capacity, self.policy = capacity, policy
        self.story: deque[tuple[int, bool]] = deque()  # (item, dropped), in order of offering
        self.failed = False

    def kept(self) -> list[int]:
        return [item for item, dropped in self.story if not dropped]

    def offer(self, item: int) -> bool:
        full = len(self.kept()) >= self.capacity
        if self.failed or (full and self.policy is Overflow.FAIL):
            self.failed = True
            self.story.append((item, True))
        elif not full:
            self.story.append((item, False))
        elif self.policy is Overflow.BLOCK:
            return False
        elif self.policy is Overflow.DROP_NEWEST:
            self.story.append((item, True))
        else:
            oldest = next(i for i, (_, dropped) in enumerate(self.story) if not dropped)
            self.story[oldest] = (self.story[oldest][0], True)
            self.story.append((item, False))
        return True

    def take(self) -> tuple[int, int]:
        missed = 0
        while self.story[0][1]:
            self.story.popleft()
            missed += 1
        return self.story.popleft()[0], missed


class OverflowMachine(RuleBasedStateMachine):
    @initialize(capacity=st.integers(1, 4), policy=st.sampled_from(Overflow))
    def start(self, capacity: int, policy: Overflow) -> None:
        self.buffer: BoundedBuffer[int] = BoundedBuffer(capacity, policy)
        self.reference = Reference(capacity, policy)
        self.next = 0
        self.told = 0

    @rule()
    def offer(self) -> None:
        assert self.buffer.offer(self.next) == self.reference.offer(self.next)
        self.next += 1

    @rule()
    def take(self) -> None:
        if not len(self.buffer):
            assert not self.reference.kept()
            return
        item, gap = self.buffer.take()
        expected, missed = self.reference.take()
        assert item == expected
        assert gap == (Gap(missed, frozenset({GapCause.OVERFLOW})) if missed else None)
        self.told += missed

    @invariant()
    def holds_the_same(self) -> None:
        if hasattr(self, "buffer"):
            assert len(self.buffer) == len(self.reference.kept()) <= self.buffer.capacity

    def teardown(self) -> None:
        if not hasattr(self, "buffer"):
            return
        while len(self.buffer):
            self.take()
        pending = self.buffer.pending_gap
        assert self.buffer.missed == self.told + (pending.missed or 0 if pending else 0)


TestOverflow = OverflowMachine.TestCase


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=5))
def test_a_gap_of_unknown_size_stays_unknown(sizes: list[int | None]) -> None:
    buffer: BoundedBuffer[str] = BoundedBuffer(1, Overflow.DROP_NEWEST)
    for size in sizes:
        buffer.mark(Gap(size, frozenset({GapCause.RECONNECT})))
    buffer.offer("next")
    _, gap = buffer.take()
    known = [size for size in sizes if size is not None]
    assert gap is not None
    assert gap.missed == (sum(known) if len(known) == len(sizes) else None)
    assert gap.causes == {GapCause.RECONNECT}


def test_a_gap_is_told_with_the_message_after_it() -> None:
    buffer: BoundedBuffer[str] = BoundedBuffer(3, Overflow.BLOCK)
    buffer.offer("before")
    buffer.mark(Gap(None, frozenset({GapCause.RECONNECT})))
    buffer.offer("after")
    assert buffer.take() == ("before", None)
    assert buffer.take() == ("after", Gap(None, frozenset({GapCause.RECONNECT})))


@pytest.mark.parametrize("taken", [0, 1])
def test_where_nothing_is_buffered_there_is_nothing_to_take(taken: int) -> None:
    buffer: BoundedBuffer[str] = BoundedBuffer(3, Overflow.BLOCK)
    for _ in range(taken):
        buffer.offer("one")
        buffer.take()
    with pytest.raises(IndexError, match="nothing is buffered"):
        buffer.take()
