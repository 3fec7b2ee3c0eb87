"""Clocks: the system's, and the one that a test moves."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import SystemClock, VirtualClock

pytestmark = pytest.mark.anyio


async def test_virtual_sleepers_wake_when_their_moment_has_come() -> None:
    clock = VirtualClock()
    woken: list[float] = []

    async def sleep(moment: float) -> None:
        await clock.sleep_until(moment)
        woken.append(moment)

    async with anyio.create_task_group() as tasks:
        for moment in (3.0, 1.0, 2.0, 0.0):
            tasks.start_soon(sleep, moment)
        await wait_all_tasks_blocked()
        assert woken == [0.0]
        clock.advance(2.0)
        await wait_all_tasks_blocked()
        assert sorted(woken) == [0.0, 1.0, 2.0]
        assert repr(clock) == "<VirtualClock at 2 s, 1 asleep>"
        clock.advance(1.0)
    assert clock.time() == 3.0


async def test_a_cancelled_sleeper_leaves_nothing_behind() -> None:
    clock = VirtualClock()
    with anyio.move_on_after(0.01):
        await clock.sleep_until(1.0)
    assert repr(clock) == "<VirtualClock at 0 s, 0 asleep>"


async def test_the_system_clock_sleeps_until_its_moment() -> None:
    clock = SystemClock()
    moment = clock.time() + 0.01
    await clock.sleep_until(moment)
    assert clock.time() >= moment
    await clock.sleep_until(moment - 1)
