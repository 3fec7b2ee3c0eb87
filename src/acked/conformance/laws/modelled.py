"""Laws by comparison with the reference model: programs nobody thought of, and recorded histories.

The laws beside this file say what is promised, one promise at a time; these look for the situation
in which promises meet.
"""

import random
from collections.abc import Awaitable, Callable

import anyio
import anyio.from_thread
import anyio.to_thread
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from acked.conformance._stalls import TRIES, watched
from acked.conformance._workload import GROUPS, Workload
from acked.conformance.harness import Harness
from acked.conformance.history import Violation, violations
from acked.conformance.law import law, remark
from acked.conformance.programs import Program, ProgramFailure, programs, run_program

__all__ = ("ModelledLaws", "try_programs")


class ModelledLaws:
    """Whatever is done in whatever order, the layer does what the model allows."""

    @law("A9", "B1", "B4", "B5", "C1", "C2", "C3", "C5", "C6", "C7", "C10", "C16", "F1", "I1")
    async def test_any_program_agrees_with_the_model(self, harness: Harness) -> None:
        """A9, B1, B4, B5, C1, C2, C3, C5, C6, C7, C10, C16, F1, I1: in any order.

        Each promise holds alone; here they hold together, under cancellation too.
        """
        await try_programs(harness, harness.examples, seconds=0.4 * harness.limit)

    @law("H2", "C9", hooks=("cut",))
    async def test_any_program_with_cut_connections_agrees_with_the_model(
        self, harness: Harness
    ) -> None:
        """H2, C9: connections break in the middle of anything.

        Nothing is lost, no ack forgotten.
        """
        examples = 2 + harness.examples // 4
        await try_programs(harness, examples, "cut", seconds=0.2 * harness.limit)

    @law("H1", needs=("persistent",), hooks=("restart_broker",))
    async def test_any_program_with_broker_restarts_agrees_with_the_model(
        self, harness: Harness
    ) -> None:
        """H1: what was accepted or settled before a restart is so after it."""
        examples = 2 + harness.examples // 10
        await try_programs(harness, examples, "restart", seconds=0.2 * harness.limit)

    @law("A7", "B1", "B4", "C1", "C3", "C12", "C16", "E1")
    async def test_a_concurrent_history_is_explained(self, harness: Harness) -> None:
        """A7, B1, B4, C1, C3, C12, C16, E1: several consumers of a group at once.

        What happened can only be judged afterwards.
        """
        seed = random.randrange(2**32)  # noqa: S311 - no secret
        found: list[Violation] = []
        for _ in range(TRIES):
            async with watched(harness) as watch:
                history = await Workload(harness, seed, messages=60, consumers=3).run()
            found = violations(history, harness.layer().capabilities, groups=GROUPS)
            if not found or watch.was_harmless:
                break
            remark(f"a history is no proof: this process stood still for {watch.longest:.2f} s")
        assert not found, f"with seed {seed}: " + "; ".join(map(str, found))


async def try_programs(
    harness: Harness,
    examples: int,
    *disturbances: str,
    seconds: float = 40.0,
    run: Callable[[Harness, Program], Awaitable[None]] = run_program,
    shrink: bool = True,
    seed: int | None = None,
) -> None:
    """Run so many random programs over `harness`; raise the `ProgramFailure` of a shrunk one.

    After so many `seconds` no other program is begun. With a `seed` the programs are the same each
    time. What fails while the machine stands still is tried again, and believed when it fails
    `TRIES` times. hypothesis is no coroutine: it runs in a thread, its programs in this event loop.
    """
    end = anyio.current_time() + seconds
    trial = _Trial(harness, run)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(program=programs(harness.layer().capabilities, *disturbances))
    def attempt(program: Program) -> None:
        anyio.from_thread.run(trial.run, program, end)

    try:
        await anyio.to_thread.run_sync(attempt if seed is None else seeded(seed)(attempt))
    finally:
        remark(trial.words(examples))


class _Trial:
    """Runs programs while there is time, and keeps the failure that is shrunk."""

    def __init__(
        self, harness: Harness, run: Callable[[Harness, Program], Awaitable[None]]
    ) -> None:
        self._harness = harness
        self._run = run
        self._failure: ProgramFailure | None = None
        self._tried = 0
        self._left_out = 0
        self._doubted = 0

    def words(self, wanted: int) -> str:
        """Say how many programs were tried, and why no more."""
        why = f"; time was over for {self._left_out}" if self._left_out else ""
        if self._doubted:
            why += f"; {self._doubted} times one was tried again, since the machine stood still"
        return f"{self._tried} programs were tried, {wanted} were wanted{why}"

    async def run(self, program: Program, end: float) -> None:
        """Run `program`, unless time is over; then only what failed before fails."""
        if anyio.current_time() > end:
            if self._failure is not None and self._failure.program == program:
                raise self._failure
            self._left_out += 1
            return
        self._tried += 1
        for tries_left in reversed(range(TRIES)):
            try:
                await self._run(self._harness, program)
            except ProgramFailure as failure:
                if not failure.stood_still or not tries_left:
                    self._failure = failure
                    raise
                self._doubted += 1
            else:
                return
