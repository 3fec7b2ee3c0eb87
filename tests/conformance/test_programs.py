"""What a failing program says, and that any part of a program is one."""

import pytest

from acked.conformance import Harness, ProgramFailure, VirtualHarness, run_program
from acked.conformance.laws.modelled import try_programs
from acked.conformance.programs import STEPS, Program
from acked.layers.memory_queue import MemoryQueueLayer
from acked.layers.memory_queue._group import GroupQueue

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def harness() -> VirtualHarness:
    return VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock))


EVERYTHING: Program = [
    ("publish", 4),
    ("publish_cancelled", 1),
    ("open", "a2"),
    ("receive", "a1"),
    ("begin_reading", "b1"),
    ("ack", "a1", 0, None),
    ("ack", "a1", 0, None),
    ("nack", "a1", 0, 0.5, None),
    ("read_cancelled", "a2", 2),
    ("nack", "a2", 0, 0.5, None),
    ("receive", "b1"),
    ("extend", "b1", 0),
    ("reject", "b1", 0, 1),
    ("interrupt", "a2"),
    ("leave", "a1"),
    ("fall_silent", "a", 1),
    ("pass_time", 1.1),
    ("receive", "a1"),
    ("silent_settles", 0, 0),
    ("cut",),
    ("restart",),
    ("reopen",),
]


async def test_a_program_may_have_every_step_and_any_part_of_it_is_one(harness: Harness) -> None:
    assert {step[0] for step in EVERYTHING} | {"leave"} == STEPS.keys()
    for start in range(len(EVERYTHING)):
        await run_program(harness, EVERYTHING[start:])


async def test_a_failure_is_a_test_to_paste(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GroupQueue.give_back

    def give_back(self: GroupQueue, lease, *, charge: bool) -> None:
        original(self, lease, charge=False)

    monkeypatch.setattr(GroupQueue, "give_back", give_back)
    with pytest.raises(ProgramFailure) as failed:
        await try_programs(harness, 100)
    words = str(failed.value)
    assert "delivered 1 times; but it was delivered to" in words
    pasted = words[words.index("async def") :]
    names: dict[str, object] = {"Harness": Harness, "run_program": run_program}
    exec(pasted, names)
    with pytest.raises(ProgramFailure):
        await names["test_a_shrunk_program"](harness)  # type: ignore[operator]
    assert len(failed.value.program) <= 4


async def test_when_time_is_over_no_program_is_begun(harness: Harness) -> None:
    async def run(harness: Harness, program: Program) -> None:
        raise AssertionError

    await try_programs(harness, 10, seconds=-1.0, run=run)
