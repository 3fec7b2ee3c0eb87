"""How long a program waits: in turns of the loop where time is virtual, else in seconds."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from acked import AckedError, VirtualClock
from acked.conformance.harness import Harness

__all__ = ("CANCELLED", "TURNS", "Waiting")

T = TypeVar("T")

CANCELLED: Final = object()
"""Stands for the answer that nobody waited for."""
TURNS: Final = 12
"""How often everybody has had a turn when what is ready in this process has arrived."""
MOST_TURNS: Final = 2000
"""The same where something must arrive, generously; and the seconds that it takes at least."""
LONGEST_WAIT: Final = 0.3


class Waiting:
    """Waits for what must come, for what may come, and not for what is cancelled.

    `faulty`: what fails is tried again later, so everything may take longer.
    """

    def __init__(self, harness: Harness) -> None:
        self.virtual: Final = isinstance(harness.clock, VirtualClock)
        self.faulty = False
        self._harness = harness

    async def wait_for_more(
        self, read: Callable[[], Awaitable[T]], *, patient: bool, turns: int = TURNS
    ) -> T | None:
        """Return what `read` does; None if it did not end in `turns`, or with all patience."""
        if patient:
            return await self.patiently(read)
        found: list[T] = []

        async def keep() -> None:
            found.append(await read())

        answer = await self.tried(keep, turns)
        if isinstance(answer, AckedError):
            raise answer
        return found[0] if found else None

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what `call` does, or None if it takes longer than anything may take."""
        if not self.virtual:
            with anyio.move_on_after(self._harness.recovery + 2 * self._harness.lease):
                return await call()
            return None
        found: list[T] = []
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                found.append(await call())
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait)
            # Turns of the loop, not only seconds: a machine that stands still is no broken layer.
            deadline = anyio.current_time() + LONGEST_WAIT
            turns, most = 0, MOST_TURNS * (10 if self.faulty else 1)
            while turns < most or anyio.current_time() < deadline:
                await anyio.lowlevel.checkpoint()
                turns += 1
            tasks.cancel_scope.cancel()
        return found[0] if found else None

    async def tried(
        self, call: Callable[[], Awaitable[object]], turns: int | None = None
    ) -> object:
        """Return None if `call` returned, what it raised, or `CANCELLED` after so many turns."""
        answers: list[object] = []

        async def attempt() -> None:
            try:
                await call()
            except AckedError as error:
                answers.append(error)
            else:
                answers.append(None)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attempt)
            if turns is not None:
                await self.pause(turns)
                tasks.cancel_scope.cancel()
        return answers[0] if answers else CANCELLED

    async def pause(self, turns: int) -> None:
        """Let everybody have so many turns, and a real broker some time."""
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        if not self.virtual:
            await anyio.sleep(0.003 * turns)
