"""The memory queue against a model so simple that it can be believed: random programs, same story."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acked.abc import AckFeed
from acked.types import Leased, Outcome, Settlement, Start, Verb
from tests.layers.queue_bench import LEASE, Bench, nothing

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class State:
    """One record as one group sees it."""

    charged: int = 0
    free_at: float = 0.0
    holder: str | None = None
    done: bool = False

    def over(self, now: float) -> bool:
        return not self.done and self.free_at <= now

    def ready(self, now: float, consumer: str) -> bool:
        """Nobody steals from itself."""
        return self.over(now) and self.holder != consumer


@dataclass
class Model:
    """For each group the state of each record, by its id; ids grow with publishing."""

    now: float = 0.0
    groups: dict[str, dict[int, State]] = field(default_factory=lambda: {"g": {}, "h": {}})

    def publish(self, number: int) -> None:
        for states in self.groups.values():
            states[number] = State()

    def ready(self, consumer: str) -> list[int]:
        states = self.groups[consumer[0]]
        return [number for number in sorted(states) if states[number].ready(self.now, consumer)]

    def receive(self, consumer: str, limit: int) -> list[tuple[int, int]]:
        """Take what is ready; what is left of it is nobody's from now on."""
        taken: list[tuple[int, int]] = []
        for number in self.ready(consumer):
            self.groups[consumer[0]][number].holder = None
        for number in self.ready(consumer)[:limit]:
            state = self.groups[consumer[0]][number]
            state.charged += 1  # charged at once; a release takes it back
            state.holder, state.free_at = consumer, self.now + LEASE
            taken.append((number, state.charged))
        return taken

    def holds(self, consumer: str, number: int, attempt: int) -> State | None:
        """Return the state of a record whose lease is `consumer`'s own and valid."""
        state = self.groups[consumer[0]][number]
        valid = state.holder == consumer and state.charged == attempt
        return state if valid and not state.done else None


CONSUMERS = ("g1", "g2", "h1")
consumers = st.sampled_from(CONSUMERS)
picks = st.integers(0, 1000)
steps = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 4)),
    st.tuples(st.just("receive"), consumers, st.integers(1, 5)),
    st.tuples(st.just("settle"), consumers, picks, st.sampled_from(Verb), st.sampled_from([0, 7])),
    st.tuples(st.just("extend"), consumers, picks, st.sampled_from([5, 40])),
    st.tuples(st.just("release"), consumers, picks),
    st.tuples(st.just("rejoin"), consumers),
    st.tuples(st.just("advance"), st.sampled_from([1, 6, 30])),
)


class Run:
    """Takes each step with the layer and with the model, and compares what they say."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.bench = Bench()
        self.model = Model()
        self.published = 0
        self.feeds: dict[str, AckFeed] = {}
        self.seen: dict[str, list[Leased]] = {consumer: [] for consumer in CONSUMERS}
        self.tokens: dict[tuple[str, object], bool] = {}
        self._stacks: dict[str, AsyncExitStack] = {}
        self._stack = stack

    async def join(self, consumer: str) -> None:
        self._stacks[consumer] = await self._stack.enter_async_context(AsyncExitStack())
        context = self.bench.feed(group=consumer[0], start=Start.EARLIEST)
        self.feeds[consumer] = await self._stacks[consumer].enter_async_context(context)

    async def publish(self, count: int) -> None:
        for _ in range(count):
            self.published += 1
            self.model.publish(self.published)
            await self.bench.publish(str(self.published))

    async def receive(self, consumer: str, limit: int) -> None:
        expected = self.model.receive(consumer, limit)
        if not expected:
            assert await nothing(self.feeds[consumer])
            return
        batch = await self.feeds[consumer].receive(limit)
        assert [(int(leased.record.id), leased.attempt) for leased in batch] == expected
        self.seen[consumer] += batch

    async def settle(self, consumer: str, pick: int, verb: Verb, delay: int) -> None:
        def apply(state: State) -> None:
            state.done = verb is not Verb.NACK
            state.holder, state.free_at = None, self.model.now + delay

        async def really(leased: Leased) -> Outcome:
            (outcome,) = await self.feeds[consumer].settle(
                [Settlement(leased.token, verb, delay if verb is Verb.NACK else 0)]
            )
            return outcome

        await self._on_lease(consumer, pick, apply, really)

    async def extend(self, consumer: str, pick: int, seconds: int) -> None:
        def apply(state: State) -> None:
            state.free_at = self.model.now + seconds

        async def really(leased: Leased) -> Outcome:
            (outcome,) = await self.feeds[consumer].extend([leased.token], seconds)
            return outcome

        await self._on_lease(consumer, pick, apply, really)

    async def release(self, consumer: str, pick: int) -> None:
        def apply(state: State) -> None:
            state.charged -= 1
            state.holder, state.free_at = None, self.model.now

        async def really(leased: Leased) -> None:
            await self.feeds[consumer].release([leased.token])

        await self._on_lease(consumer, pick, apply, really)

    async def rejoin(self, consumer: str) -> None:
        await self._stacks[consumer].aclose()
        for state in self.model.groups[consumer[0]].values():
            if state.holder == consumer and not state.done:
                state.holder, state.free_at = None, self.model.now
        self.seen[consumer].clear()
        await self.join(consumer)

    async def advance(self, seconds: int) -> None:
        self.model.now += seconds
        self.bench.clock.advance(seconds)

    async def finish(self) -> None:
        """Expect exactly what the model still owes, then settle it: nothing is kept."""
        for consumer in CONSUMERS:
            await self.rejoin(consumer)
        await self.advance(1000)
        for consumer in CONSUMERS[1:]:
            if self.model.ready(consumer):
                await self.receive(consumer, 1000)
                feed = self.feeds[consumer]
                await feed.settle([Settlement(s.token, Verb.ACK) for s in self.seen[consumer]])
            assert await nothing(self.feeds[consumer])
        assert "'t' keeps 0 for g (0 ready, 0 delayed, 0 held)" in repr(self.bench.layer)

    async def _on_lease(
        self,
        consumer: str,
        pick: int,
        apply: Callable[[State], None],
        really: Callable[[Leased], object],
    ) -> None:
        """Do one thing with any lease this consumer has ever had, stale ones too."""
        if not self.seen[consumer]:
            return
        leased = self.seen[consumer][pick % len(self.seen[consumer])]
        state = self.model.holds(consumer, int(leased.record.id), leased.attempt)
        released = self.tokens.get((consumer, leased.token), False)
        outcome = await really(leased)  # type: ignore[misc]
        if state is None or released:
            assert outcome in (Outcome.LOST, None)
            return
        assert outcome in (Outcome.CONFIRMED, None)
        apply(state)
        # A release takes the charge back, so the next lease has the same attempt: remember it.
        self.tokens[consumer, leased.token] = outcome is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.lists(steps, max_size=60))
async def test_any_program_has_the_outcomes_of_the_model(
    program: list[tuple[str, object]],
) -> None:
    async with AsyncExitStack() as stack:
        run = Run(stack)
        for consumer in CONSUMERS:
            await run.join(consumer)
        for name, *arguments in program:
            await getattr(run, name)(*arguments)
        await run.finish()


def test_the_model_shares_within_a_group_and_copies_between_groups() -> None:
    model = Model()
    model.publish(1)
    assert model.receive("g1", 5) == [(1, 1)]
    assert model.receive("g2", 5) == []
    assert model.receive("h1", 5) == [(1, 1)]
