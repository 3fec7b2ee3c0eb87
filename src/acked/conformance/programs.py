"""Programs: random lists of steps, run with a layer and with the model together.

```python
await run_program(harness, [("publish", 2), ("receive", "a1"), ("nack", "a1", 0), ("leave", "a1")])
```

A program is plain data, so that a failure can be printed as a test, and shrunk by hypothesis. Its
consumers are `a1` and `a2`, of one group, and `b1` of another; see `STEPS` for the steps.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import anyio
from hypothesis import strategies as st

from acked.conformance._ending import finish
from acked.conformance._environment import CONSUMERS, GROUPS, Environment
from acked.conformance._stalls import watched
from acked.conformance._steps import STEPS
from acked.conformance.harness import Harness
from acked.types import Capabilities, Verb

__all__ = ("STEPS", "Program", "ProgramFailure", "Step", "programs", "run_program", "steps")

Step: TypeAlias = tuple[str | int | float | None, ...]
Program: TypeAlias = Sequence[Step]

LONGEST: Final = 24


class ProgramFailure(AssertionError):
    """The layer and the model disagree; the words hold the program as a test to paste.

    `stood_still`: meanwhile nothing in this process had a turn for so many seconds that leases may
    have ended by that: then it is no proof.
    """

    def __init__(
        self, program: Program, at: str, cause: BaseException, *, stood_still: float = 0.0
    ) -> None:
        doubt = f" (this process stood still for {stood_still:.2f} s)" if stood_still else ""
        super().__init__(f"{cause}{doubt}\n\nat {at} of this program:\n\n{rendered(program)}")
        self.program: Final = program
        self.stood_still: Final = stood_still


def rendered(program: Program) -> str:
    """Return `program` as a test that can be pasted."""
    lines = "".join(f"        {step!r},\n" for step in program)
    return (
        "async def test_a_shrunk_program(harness: Harness) -> None:\n"
        f"    await run_program(harness, [\n{lines}    ])\n"
    )


def steps(capabilities: Capabilities, *disturbances: str) -> st.SearchStrategy[Step]:
    """Return a strategy for one step that makes sense for the layer.

    `disturbances` are steps that harnesses have hooks for: `cut`, `restart`.
    """
    # The likelier of each come more than once.
    names = st.sampled_from([*CONSUMERS, next(iter(CONSUMERS))])
    picks, turns = st.sampled_from([0, 0, 1, 1, 1, 2, 3, 7]), st.integers(0, 5)
    maybe_turns = st.sampled_from([None, None, None, None, 0, 1, 2, 4])
    verbs = st.sampled_from([int(verb) for verb in Verb])
    # Without renewals leases end that began when a message was fetched: nobody knows when that was.
    is_known = capabilities.extend or capabilities.lease != "timer"
    kinds: list[st.SearchStrategy[Step]] = [
        *[st.tuples(st.just("publish"), st.integers(1, 4))] * 3,
        st.tuples(st.just("publish_cancelled"), turns),
        st.tuples(st.just("open"), names),
        *[st.tuples(st.just("receive"), names)] * 4,
        st.tuples(st.just("begin_reading"), names),
        st.tuples(st.just("read_cancelled"), names, turns),
        st.tuples(st.just("ack"), names, picks, maybe_turns),
        st.tuples(st.just("nack"), names, picks, st.sampled_from([0.0, 0.5, 1.5]), maybe_turns),
        st.tuples(st.just("reject"), names, picks, maybe_turns),
        st.tuples(st.just("extend"), names, picks),
        st.tuples(st.sampled_from(["leave", "interrupt"]), names),
        *[st.tuples(st.just("pass_time"), st.sampled_from([0.4, 1.1]))] * is_known,
        st.just(("reopen",)),
    ]
    if capabilities.lease == "timer":
        kinds.append(st.tuples(st.just("fall_silent"), st.sampled_from(GROUPS), st.integers(1, 3)))
        kinds.append(st.tuples(st.just("silent_settles"), picks, verbs))
    kinds.extend(st.just((word,)) for word in disturbances)
    return st.one_of(kinds)


def programs(
    capabilities: Capabilities, *disturbances: str, longest: int = LONGEST
) -> st.SearchStrategy[list[Step]]:
    """Return a strategy for programs that make sense for the layer; see `steps`."""
    # Steps that may be left out, in a list of one length: long programs that shrink well.
    maybe = st.one_of(st.none(), steps(capabilities, *disturbances))
    whole = st.lists(maybe, min_size=longest, max_size=longest)
    return whole.map(lambda program: [step for step in program if step is not None])


async def run_program(harness: Harness, program: Program, *, fragile: bool = False) -> None:
    """Run `program` over `harness.layer()`; raise `ProgramFailure` where the model forbids it.

    At its end everything owed is drained: what is lost, or comes again, shows then at the latest.
    With `fragile` the layer may fail in every legal way, as a `FaultLayer` does.
    """
    failure: ProgramFailure | None = None
    at = "the beginning"
    async with watched(harness) as watch, anyio.create_task_group() as tasks:
        env = Environment(harness, tasks, fragile=fragile)
        try:
            await env.begin()
            for number, (word, *arguments) in enumerate(program):
                at = f"step {number}, {(word, *arguments)},"
                await STEPS[str(word)](env, *arguments)
                env.check()
            at = "the end"
            await finish(env)
            await env.close()
        except Exception as error:  # noqa: BLE001 - whatever it was, the program belongs to it
            stood_still = 0.0 if watch.was_harmless else watch.longest
            failure = ProgramFailure(program, at, error, stood_still=stood_still)
            failure.__cause__ = error
            with anyio.CancelScope(shield=True):
                tasks.cancel_scope.cancel()
                await env.channel.aclose()
    if failure is not None:
        raise failure
