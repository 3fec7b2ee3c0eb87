"""The state machine on the memory queue; and it finds a planted bug."""

import pytest

from acked.conformance import VirtualHarness
from acked.conformance.machine import machine
from acked.conformance.model import Illegal
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.memory_queue._group import GroupQueue


def make_harness() -> VirtualHarness:
    return VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))


TestOnAsyncio = machine(make_harness, examples=40)
TestOnTrio = machine(make_harness, examples=20, backend="trio")


def test_it_finds_a_planted_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(self: GroupQueue, lease) -> None:
        self.give_back(lease, charge=True)

    monkeypatch.setattr(GroupQueue, "settled", settled)
    case = machine(make_harness, examples=20)("runTest")
    with pytest.raises(Illegal, match=r"is (settled|dead), delivered"):
        case.runTest()
