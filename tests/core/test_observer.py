"""An observer is told what happened, where it happened; and whoever has none pays nothing."""

import asyncio
import os
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from acked import (
    AckUnconfirmed,
    Channel,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    LeaseLost,
    PublishFailed,
    Redelivery,
    VirtualClock,
)
from acked._core.home import Home
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, ScriptedNews, leased, prefetch, without

pytestmark = pytest.mark.anyio

LEASE = 30.0


class Story:
    """Notes the name of each hook, and what tells the calls apart."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, hook: str) -> Any:
        return lambda *facts: self.told.append((hook, *facts))

    def of(self, hook: str) -> list[tuple[Any, ...]]:
        return [facts for name, *facts in self.told if name == hook]  # type: ignore[misc]


class Refusing(ScriptedLayer):
    async def publish(self, records: Any) -> Any:
        raise PublishFailed("1 of 1", {0: LayerError("full")}, indeterminate=False)


async def test_an_ack_subscription_tells_of_a_message_from_end_to_end() -> None:
    story, clock = Story(), VirtualClock()
    layer = ScriptedLayer(ConnectionLost("gone"), leased(1), leased(2))
    async with Channel(layer, clock=clock, observer=story) as channel:
        await channel.publish("t", 1)
        async with channel.subscribe("t", group="g", lease=LEASE) as sub:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(prefetch, sub, 2)
                await wait_all_tasks_blocked()
                clock.advance(1)
            first, second = await anext(sub), await anext(sub)
            for _ in range(2):
                await wait_all_tasks_blocked()
                clock.advance(LEASE / 3)
            await wait_all_tasks_blocked()
            layer.replies = [[Outcome.LOST]]
            with pytest.raises(LeaseLost):
                await second.extend(60)
            await first.ack()
    assert [len(records) for records, _ in story.of("published")] == [1]
    assert [str(error) for (error,) in story.of("connection_lost")] == ["gone"]
    assert story.of("connection_restored") == [[1]]
    assert [one.token for (batch,) in story.of("fetched") for one in batch] == [1, 2]
    assert [one.token for (one,) in story.of("handed_out")] == [1, 2]
    assert [len(batch) for batch, _ in story.of("renewed")] >= [2]
    assert [[one.token for one in batch] for (batch,) in story.of("lost")] == [[2]]
    settled = [(one.token, verb, reply) for one, verb, reply in story.of("settled")]
    assert settled == [(1, Verb.ACK, Outcome.CONFIRMED)]


async def test_what_was_not_published_is_told() -> None:
    story = Story()
    async with Channel(Refusing(), observer=story) as channel:
        with pytest.raises(PublishFailed):
            await channel.publish("t", 1)
    assert [len(records) for records, _ in story.of("publish_failed")] == [1]


async def test_a_fire_and_forget_subscription_tells_what_it_missed() -> None:
    story, layer = Story(), ScriptedNews()
    async with Channel(layer, observer=story) as channel, channel.subscribe("t"):
        layer.sinks[0].gap(Gap(3, frozenset({GapCause.RECONNECT})))
        layer.sinks[0].gap(Gap(None, frozenset({GapCause.RECONNECT})))
    assert story.of("missed") == [[3], [None]]


async def test_a_dead_letter_that_is_refused_is_cut_further_each_time_and_then_given_up() -> None:
    clock = VirtualClock()
    layer = ScriptedLayer(leased(1, body=b"7"), capabilities=without(extend=False))
    async with (
        Channel(layer, clock=clock) as channel,
        channel.subscribe(
            "t", group="g", lease=LEASE, redelivery=Redelivery(dead_letter="dead")
        ) as sub,
    ):
        refused = LayerError("too large")
        layer.replies = [[refused]] * 4
        with pytest.raises(LayerError, match="too large"):
            await (await anext(sub)).reject("x" * 500)
        for _ in range(7):
            await wait_all_tasks_blocked()
            clock.advance(LEASE / 3)
        await wait_all_tasks_blocked()
    letters = [s.dead_letter for batch in layer.batches for s in batch if s.verb is Verb.REJECT]
    reasons = [len(letter.headers["acked-reason"]) for letter in letters if letter]
    assert reasons == [500, 100, 100, 100]
    assert [letter.body for letter in letters if letter] == [b"7", b"7", b"7", b""]
    assert letters[-1] is not None
    assert letters[-1].headers["acked-cut"] == "0 headers, 1 bytes of body"
    assert layer.settled(Verb.NACK) == [1]  # it frees its place and comes again


async def test_of_several_pipelined_failures_each_is_told_or_counted() -> None:
    layer = ScriptedLayer(leased(1), leased(2), leased(3))
    with pytest.raises(AckUnconfirmed) as caught:
        async with Channel(layer) as channel:
            async with channel.subscribe("t", group="g", confirm_acks=False) as sub:
                batch = await anext(sub.batches(3))
                layer.outcome = Outcome.UNKNOWN
                await batch.ack()
                await wait_all_tasks_blocked()
    assert "and 2 more" in caught.value.__notes__[0]


async def test_a_reader_that_waits_is_told_of_the_failures_before_it(anyio_backend: str) -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        layer.outcome = LayerError("the layer is broken")
        with pytest.raises(AckUnconfirmed):
            await delivery.ack()
        layer.outcome = Outcome.CONFIRMED
        with pytest.raises(LayerError, match="broken"):
            await anext(sub)
        await delivery.ack()


def test_a_channel_is_used_in_the_loop_of_its_opening() -> None:
    homes: list[Home] = []

    async def open_one() -> None:
        homes.append(Home())

    async def check() -> None:
        with pytest.raises(ConfigurationError, match="in another event loop"):
            homes[0].check()

    asyncio.run(open_one())
    asyncio.run(check())


async def test_a_channel_is_not_used_in_a_forked_process() -> None:
    home = Home()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child, which must not go on with the test
        try:
            home.check()
        except ConfigurationError as error:
            os._exit(0 if "after the fork" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    home.check()
