"""The steps of programs as a state machine of hypothesis, for finding out by hand what breaks.

```python
TestMemoryQueue = machine(lambda: VirtualHarness(lambda clock: MemoryQueueLayer(clock=clock)))
```

Each rule is a step of `programs`, done with the layer and with the model. It differs from a program
in what hypothesis can do with it: it chooses the next step after the last was done, and prints the
run as the calls that led there. For a harness of one process, since each run opens an event loop.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import TestCase

import anyio
import anyio.abc
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from acked.conformance._ending import finish
from acked.conformance._environment import CONSUMERS, GROUPS, Environment
from acked.conformance._steps import STEPS
from acked.conformance.harness import Harness
from acked.types import Verb

__all__ = ("Machine", "machine")

names: st.SearchStrategy[str] = st.sampled_from(sorted(CONSUMERS))
picks: st.SearchStrategy[int] = st.integers(0, 7)
turns: st.SearchStrategy[int] = st.integers(0, 5)


class Machine(RuleBasedStateMachine):
    """One env, driven rule by rule; `make_harness` and `backend` are set by `machine`."""

    make_harness: Callable[[], Harness]
    backend: str = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal(self.backend))
        self._failed = False
        done, self._env = self._portal.start_task(self._live)
        self._stack.callback(done.result)

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        """Publish messages."""
        self._do("publish", count)

    @rule(name=names)
    def receive(self, name: str) -> None:
        """Read one delivery."""
        self._do("receive", name)

    @rule(name=names)
    def begin_reading(self, name: str) -> None:
        """Let a consumer wait."""
        self._do("begin_reading", name)

    @rule(name=names, pick=picks, after=st.none() | turns)
    def ack(self, name: str, pick: int, after: int | None) -> None:
        """Ack, perhaps cancelled."""
        self._do("ack", name, pick, after)

    @rule(name=names, pick=picks, delay=st.sampled_from([0.0, 0.5]), after=st.none() | turns)
    def nack(self, name: str, pick: int, delay: float, after: int | None) -> None:
        """Nack, perhaps cancelled."""
        self._do("nack", name, pick, delay, after)

    @rule(name=names, pick=picks)
    def reject(self, name: str, pick: int) -> None:
        """Reject."""
        self._do("reject", name, pick)

    @rule(name=names, how=st.sampled_from(["leave", "interrupt"]))
    def leave(self, name: str, how: str) -> None:
        """Leave a subscription."""
        self._do(how, name)

    @rule(group=st.sampled_from(GROUPS), count=st.integers(1, 3))
    def fall_silent(self, group: str, count: int) -> None:
        """Let a consumer fall silent."""
        self._do("fall_silent", group, count)

    @rule(pick=picks, verb=st.sampled_from(Verb))
    def silent_settles(self, pick: int, verb: Verb) -> None:
        """Let a silent one settle after all."""
        self._do("silent_settles", pick, int(verb))

    @rule(leases=st.sampled_from([0.4, 1.1]))
    def pass_time(self, leases: float) -> None:
        """Let time pass."""
        self._do("pass_time", leases)

    @invariant()
    def accounts_add_up(self) -> None:
        """See that no window is exceeded, and every account adds up."""
        self._call(self._env.check)

    def teardown(self) -> None:
        """See that exactly what is owed comes, and end the run."""
        try:
            if not self._failed:
                self._call(finish, self._env)
        finally:
            self._portal.call(self._over.set)
            self._stack.close()

    async def _live(self, *, task_status: anyio.abc.TaskStatus[Environment]) -> None:
        self._over = anyio.Event()
        async with anyio.create_task_group() as tasks:
            env = Environment(self.make_harness(), tasks, fragile=False)
            await env.begin()
            task_status.started(env)
            await self._over.wait()
            await env.close()
            tasks.cancel_scope.cancel()

    def _do(self, word: str, *arguments: object) -> None:
        self._call(STEPS[word], self._env, *arguments)

    def _call(self, function: Callable[..., Any], *arguments: object) -> None:
        try:
            self._portal.call(function, *arguments)
        except BaseException:
            self._failed = True
            raise


def machine(
    make_harness: Callable[[], Harness],
    *,
    backend: str = "asyncio",
    examples: int = 50,
    steps: int = 30,
) -> type[TestCase]:
    """Return a test case that pytest runs: `examples` runs of up to `steps` steps each."""
    choices = {"make_harness": staticmethod(make_harness), "backend": backend}
    one: Any = type("ModelMachine", (Machine,), choices)
    case: Any = one.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,  # several would come wrapped in a group
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    made: type[TestCase] = case
    return made
