"""Faults happen as planned, are legal, and the engine keeps its promises through them."""

import anyio
import anyio.lowlevel
import pytest

from acked import (
    AckUnconfirmed,
    Channel,
    ConfigurationError,
    Gap,
    GapCause,
    LayerError,
    LeaseLost,
    Overflow,
    PublishFailed,
    VirtualClock,
)
from acked._core.ack.settler import Settler
from acked.abc import AckLayer, FireAndForgetLayer
from acked.conformance import Harness, VirtualHarness
from acked.conformance.fault_layer import FaultLayer
from acked.conformance.fault_plan import FAILURES, Fault, FaultPlan
from acked.conformance.laws.modelled import try_programs
from acked.conformance.programs import Program, ProgramFailure, run_program
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def planned(*faults: tuple) -> tuple[Channel[AckLayer], FaultPlan, VirtualClock]:
    clock = VirtualClock()
    plan = FaultPlan([Fault(*fault) for fault in faults])
    layer = FaultLayer(MemoryQueueLayer(clock=clock), plan, clock=clock)
    return Channel(layer, clock=clock), plan, clock


@pytest.mark.parametrize(
    ("failure", "indeterminate", "accepted"),
    [("refused", False, 0), ("unsent", True, 0), ("unanswered", True, 1)],
)
async def test_a_publish_fails_as_planned(failure, indeterminate: bool, accepted: int) -> None:
    channel, plan, _ = planned(("publish", 1, failure))
    async with channel, channel.subscribe("t", group="g") as sub:
        await channel.publish("t", "first")
        with pytest.raises(PublishFailed) as raised:
            await channel.publish("t", "second")
        assert raised.value.indeterminate is indeterminate
        assert set(raised.value.failures) == {0}
        await channel.publish("t", "third")
        expected = ["first", "second", "third"] if accepted else ["first", "third"]
        for body in expected:
            delivery = await anext(sub)
            assert delivery.body == body
            await delivery.ack()
    assert plan.injected == [Fault("publish", 1, failure)]


@pytest.mark.parametrize(("failure", "comes_again"), [("unsent", True), ("unanswered", False)])
async def test_an_ack_without_an_answer_was_carried_out_or_not(failure, comes_again: bool) -> None:
    channel, _, _ = planned(("settle", 0, failure))
    async with channel:
        await channel.publish_many("t", ["first", "last"])
        async with channel.subscribe("t", group="g", in_flight=1) as sub:
            delivery = await anext(sub)
            with pytest.raises(AckUnconfirmed):
                await delivery.ack()
        async with channel.subscribe("t", group="g") as sub:
            again = await anext(sub)
            assert again.body == ("first" if comes_again else "last")
            await again.ack()


async def test_a_refused_settlement_says_so_and_the_message_is_still_held() -> None:
    channel, _, _ = planned(("settle", 0, "refused"))
    async with channel:
        await channel.publish("t", "body")
        async with channel.subscribe("t", group="g") as sub:
            delivery = await anext(sub)
            with pytest.raises(LayerError, match="refused"):
                await delivery.ack()
            assert sub.statistics().held == 1
            await delivery.ack()
            assert (sub.statistics().held, sub.statistics().acked) == (0, 1)


async def test_a_refused_extension_says_so_and_the_lease_is_as_it_was() -> None:
    channel, _, _ = planned(("extend", 0, "refused"))
    async with channel:
        await channel.publish("t", "body")
        async with channel.subscribe("t", group="g") as sub:
            delivery = await anext(sub)
            with pytest.raises(LayerError, match="refused"):
                await delivery.extend(60)
            await delivery.extend(60)
            await delivery.ack()


async def test_a_lease_that_ended_at_the_settlement_brings_the_message_again() -> None:
    channel, _, _ = planned(("settle", 0, "lease_ended"))
    async with channel, channel.subscribe("t", group="g") as sub:
        await channel.publish("t", "body")
        delivery = await anext(sub)
        with pytest.raises(LeaseLost):
            await delivery.ack()
        again = await anext(sub)
        assert (again.body, again.attempt) == ("body", 2)
        await again.ack()


async def test_a_lease_that_ended_on_the_way_makes_a_duplicate() -> None:
    channel, _, _ = planned(("receive", 0, "lease_ended"))
    async with channel, channel.subscribe("t", group="g") as sub:
        await channel.publish("t", "body")
        delivery, again = await anext(sub), await anext(sub)
        assert (delivery.body, again.body, again.attempt) == ("body", "body", 2)
        with pytest.raises(LeaseLost):
            await delivery.ack()
        await again.ack()


async def test_a_broken_connection_is_mended_after_a_while() -> None:
    channel, plan, clock = planned(("receive", 0, "disconnected"), ("extend", 0, "disconnected"))
    async with channel, channel.subscribe("t", group="g", lease=30) as sub:
        await channel.publish("t", "body")
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:

                async def tick() -> None:
                    while True:
                        await anyio.lowlevel.checkpoint()
                        clock.advance(0.1)

                tasks.start_soon(tick)
                delivery = await anext(sub)
                while len(plan.injected) < 2:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await delivery.ack()


async def test_an_operation_is_delayed_by_the_clock() -> None:
    clock = VirtualClock()
    plan = FaultPlan([Fault("publish", 0, "delayed")], delay=5.0)
    channel = Channel(FaultLayer(MemoryQueueLayer(clock=clock), plan, clock=clock))
    async with channel, anyio.create_task_group() as tasks:
        tasks.start_soon(channel.publish, "t", "body")
        await anyio.wait_all_tasks_blocked()
        assert plan.injected
        async with channel.subscribe("t", group="g") as sub:
            await anyio.wait_all_tasks_blocked()
            assert sub.statistics().buffered == 0
            clock.advance(5.0)
            await (await anext(sub)).ack()


@pytest.mark.parametrize(
    ("failure", "gap"),
    [
        ("dropped", Gap(1, frozenset({GapCause.BROKER}))),
        ("reconnected", Gap(None, frozenset({GapCause.RECONNECT}))),
    ],
)
async def test_dropped_news_is_told_by_a_gap(failure, gap: Gap) -> None:
    layer = FaultLayer(MemoryLayer(), FaultPlan([Fault("deliver", 1, failure)]))
    assert isinstance(layer, FireAndForgetLayer)
    async with Channel(layer) as channel, channel.subscribe("t") as sub:
        for number in range(3):
            await channel.publish("t", number)
        first, second = await anext(sub), await anext(sub)
    assert [(first.body, first.gap), (second.body, second.gap)] == [(0, None), (2, gap)]


async def test_a_full_subscription_counts_a_record_once() -> None:
    """A record that has no room is offered, then sent: one operation, not two."""
    plan = FaultPlan([Fault("deliver", 2, "dropped")])
    async with (
        Channel(FaultLayer(MemoryLayer(), plan)) as channel,
        channel.subscribe("t", capacity=1, overflow=Overflow.BLOCK) as sub,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(channel.publish_many, "t", range(4))
        assert [(await anext(sub)).body for _ in range(3)] == [0, 1, 3]


def test_a_seed_gives_the_same_faults_whatever_the_interleaving() -> None:
    one, other = FaultPlan(seed=7, rate=0.5), FaultPlan(seed=7, rate=0.5)
    first = [(one.next("publish"), one.next("settle")) for _ in range(50)]
    settles = [other.next("settle") for _ in range(50)]
    publishes = [other.next("publish") for _ in range(50)]
    assert first == list(zip(publishes, settles, strict=True))
    assert {failure for failure in settles if failure} == set(FAILURES["settle"])
    assert [FaultPlan(seed=8, rate=0.5).next("publish") for _ in range(1)] != publishes


def test_what_cannot_happen_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it can be: refused"):
        Fault("publish", 0, "lease_ended")
    with pytest.raises(ConfigurationError, match="rate"):
        FaultPlan(seed=1, rate=2.0)


def faulty(seed: int) -> VirtualHarness:
    def make(clock) -> AckLayer:
        plan = FaultPlan(seed=seed, rate=0.15, delay=2.0)
        return FaultLayer(MemoryQueueLayer(clock=clock), plan, clock=clock)

    return VirtualHarness(make)


def with_faults(seed: int):
    async def run(_: Harness, program: Program) -> None:
        await run_program(faulty(seed), program, fragile=True)

    return run


@pytest.mark.parametrize("seed", range(6))
async def test_the_engine_agrees_with_the_model_through_any_faults(seed: int) -> None:
    await try_programs(faulty(seed), 20, run=with_faults(seed))


async def test_and_one_that_believes_every_answer_does_not(monkeypatch) -> None:
    """The check is checked: UNKNOWN taken for CONFIRMED loses messages."""
    from acked.types import Outcome

    original = Settler._answered

    def believe(self: Settler, flush, debts, outcomes, cause=None) -> None:
        original(self, flush, debts, [Outcome.CONFIRMED] * len(debts), cause)

    monkeypatch.setattr(Settler, "_answered", believe)
    with pytest.raises(ProgramFailure):
        for seed in range(10):
            await try_programs(faulty(seed), 20, run=with_faults(seed), shrink=False)


async def test_what_a_layer_has_beyond_the_contract_it_still_has() -> None:
    channel, _, _ = planned()
    async with channel:
        await channel.publish("t", 1)
        letters = channel.dead_letters("t")
        assert await letters.count() == 1
        assert (await letters.purge()).purged == 1
        await channel.remove_group("t", group="nobody")
