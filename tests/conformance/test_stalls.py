"""A correct layer is not accused of what a machine does that stands still; a broken one still is."""

import time

import anyio
import pytest

from acked.conformance import Harness, ProgramFailure, run_program
from acked.conformance._stalls import TRIES, watched
from acked.conformance.law import take_remarks
from acked.conformance.laws.modelled import try_programs
from acked.conformance.programs import Program
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio

PAUSE: Program = [("pass_time", 1.5)]


class Stalling(Harness):
    """A memory queue in real time; so many pauses are stalls, of which something goes wrong."""

    lease = 0.3
    shares_layer = True

    def __init__(self, stalls: int) -> None:
        self._layer = MemoryQueueLayer()
        self._stalls = stalls

    def layer(self) -> MemoryQueueLayer:
        return self._layer

    async def pass_time(self, seconds: float) -> None:
        self._stalls -= 1
        if self._stalls >= 0:
            await self.stall(seconds)
            raise AssertionError("a lease was lost")
        await anyio.sleep(seconds)


async def pause(harness: Harness, _: Program) -> None:
    await run_program(harness, PAUSE)


async def test_what_a_stall_made_of_a_program_is_no_proof_and_it_is_tried_again() -> None:
    take_remarks()
    await try_programs(Stalling(1), 1, run=pause, shrink=False)
    (words,) = take_remarks()
    assert words.endswith("1 times one was tried again, since the machine stood still")


async def test_what_fails_each_time_is_believed_and_says_for_how_long_nothing_ran() -> None:
    with pytest.raises(ProgramFailure, match=r"process stood still for 0\.[3-9]") as failed:
        await pause(Stalling(1), [])
    assert failed.value.stood_still >= 0.3
    with pytest.raises(ProgramFailure):
        await try_programs(Stalling(2 * TRIES), 1, run=pause, shrink=False)


async def test_without_a_stall_a_failure_is_believed_at_once() -> None:
    tried = 0

    async def run(harness: Harness, program: Program) -> None:
        nonlocal tried
        tried += 1
        raise ProgramFailure(program, "a step", ValueError("the layer lost it"))

    with pytest.raises(ProgramFailure, match="lost it\n"):
        await try_programs(Stalling(0), 1, run=run, shrink=False)
    assert tried <= 2  # hypothesis looks at what fails once more


async def test_a_thread_that_is_late_is_noticed_as_is_a_stall_that_lasts() -> None:
    async with watched(Stalling(0)) as watch:
        assert watch.was_harmless
        await anyio.sleep(0.1)
        time.sleep(0.2)  # the loop stands still
        assert not watch.was_harmless
        await anyio.sleep(0.1)
        assert 0.1 < watch.longest < 5.0
