"""What cannot be is refused at the call, with what to write, and nothing else is touched."""

import math
from datetime import datetime
from typing import Any

import pytest

from acked import (
    Backoff,
    CapabilityError,
    Channel,
    ConfigurationError,
    LeaseLost,
    Redelivery,
    Stream,
)
from acked.layers.memory import MemoryLayer
from acked.layers.memory_queue import MemoryQueueLayer
from acked.types import Outcome, Verb
from tests.core.scripted import ScriptedLayer, leased

pytestmark = pytest.mark.anyio

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lease": math.nan}, "lease=nan: needs to be a number of seconds, above 0"),
    ({"lease": math.inf}, "lease=inf"),
    ({"lease": 0}, "lease=0"),
    ({"lease": "30"}, "lease='30'"),
    ({"max_lease": -1}, "max_lease=-1"),
    ({"in_flight": 2.5}, "in_flight=2.5"),
    ({"in_flight": 0}, "in_flight=0: needs to be at least 1"),
    ({"in_flight": True}, "in_flight=True"),
    ({"reconnect_timeout": -5}, "reconnect_timeout=-5"),
    ({"close_timeout": math.nan}, "close_timeout=nan"),
    ({"start": "latest"}, r"start='latest'.*write Start\.EARLIEST, Start\.LATEST"),
    ({"redelivery": 5}, r"redelivery=5.*write Redelivery\("),
    ({"group": ""}, "needs"),
    ({"group": 7}, "group=7"),
    ({"redelivery": Redelivery(dead_letter="t")}, "would come again for ever"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=lambda it: str(it)[:40])
async def test_a_subscription_is_not_made_with_what_cannot_be(
    options: dict[str, Any], words: str
) -> None:
    async with Channel(ScriptedLayer()) as channel:
        with pytest.raises(ConfigurationError, match=words):
            channel.subscribe("t", **{"group": "g"} | options)


@pytest.mark.parametrize("options", [{"capacity": 2.5}, {"capacity": 0}, {"overflow": "drop"}])
async def test_nor_one_to_a_fire_and_forget_layer(options: dict[str, Any]) -> None:
    async with Channel(MemoryLayer()) as channel:
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            channel.subscribe("t", **options)


async def test_a_group_that_was_given_as_a_topic_is_understood() -> None:
    async with Channel(ScriptedLayer()) as channel:
        with pytest.raises(ConfigurationError, match="write group='billing'"):
            channel.subscribe("t", "billing")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("redis-streams://x", r"Channel\.from_url\(url\)"),
        (MemoryLayer, r"Channel\(MemoryLayer\(\.\.\.\)\)"),
        (7, "int is no layer"),
    ],
)
def test_what_is_no_layer_is_told_what_was_meant(given: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Channel(given)


def test_a_client_s_url_is_told_which_mechanisms_there_are() -> None:
    with pytest.raises(ConfigurationError, match="redis-pubsub or redis-streams"):
        Channel.from_url("redis://localhost")
    with pytest.raises(ConfigurationError, match="postgres-notify"):
        Channel.from_url("postgresql://localhost")


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -1, "1", None, True])
async def test_a_delay_that_cannot_be_fails_no_neighbour(seconds: Any) -> None:
    layer = ScriptedLayer(*map(leased, range(3)))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        first, second, third = [await anext(sub) for _ in range(3)]
        for settle in (first.nack(delay=seconds), first.extend(seconds)):
            with pytest.raises(ConfigurationError, match="needs to be"):
                await settle
        await second.ack()
        await third.ack()
        await first.ack()
    assert layer.settled(Verb.ACK) == [1, 2, 0]
    assert layer.extended == []


@pytest.mark.parametrize("size", [0, -1, 2.5, "3"])
async def test_batches_of_no_size_are_refused(size: Any) -> None:
    async with Channel(ScriptedLayer()) as channel, channel.subscribe("t", group="g") as sub:
        with pytest.raises(ConfigurationError, match="at least 1"):
            sub.batches(size)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        (ValueError("no such card"), "ValueError: no such card"),
        (KeyError(), "KeyError"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("x" * 100_000, "x" * 999 + "\N{HORIZONTAL ELLIPSIS}"),
        ("", ""),
    ],
)
async def test_a_reason_is_made_fit_for_any_broker(reason: Any, kept: str) -> None:
    layer = ScriptedLayer(leased(1))
    letters = Redelivery(dead_letter="dead")
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g", redelivery=letters) as sub:
            await (await anext(sub)).reject(reason)
    ((settlement,),) = layer.batches
    assert settlement.dead_letter is not None
    assert settlement.dead_letter.headers["acked-reason"] == kept


async def test_a_reason_that_is_none_of_these_is_refused_and_the_message_still_held() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        with pytest.raises(ConfigurationError, match="a str or an exception, not int"):
            await delivery.reject(7)  # type: ignore[arg-type]
        await delivery.ack()


async def test_an_unknown_option_of_publish_is_refused() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        with pytest.raises(
            CapabilityError,
            match="publish has no option kee=; it has at, connection, delay, expires, headers, id, key, priority",
        ):
            await channel.publish("t", 1, kee="x")  # type: ignore[call-overload]
        with pytest.raises(ConfigurationError, match="1 to 255 characters"):
            await channel.publish("t", 1, id="")
        await channel.publish("t", 1, id="mine")
    assert [record.id for record in layer.published] == ["mine"]


async def test_the_handler_s_own_exception_is_not_masked_by_a_lost_lease() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        layer.replies = [[Outcome.LOST]]
        with pytest.raises(ZeroDivisionError) as caught:
            async with await anext(sub):
                raise ZeroDivisionError
        assert "was not nacked" in caught.value.__notes__[0]
        assert LeaseLost.__name__ not in repr(caught.value)


async def test_the_waits_of_redelivery_are_spread() -> None:
    layer = ScriptedLayer(*map(leased, range(20)))
    spread = Redelivery(backoff=Backoff(initial=10, factor=1, maximum=10, spread=1.0))
    async with Channel(layer) as channel:
        async with channel.subscribe("t", group="g", redelivery=spread) as sub:
            for _ in range(20):
                with pytest.raises(ZeroDivisionError):
                    async with await anext(sub):
                        raise ZeroDivisionError
    delays = {s.delay for batch in layer.batches for s in batch}
    assert len(delays) > 10
    assert all(0 < delay <= 10 for delay in delays)


async def test_a_lease_lost_while_its_settlement_was_on_its_way_is_counted_once() -> None:
    layer = ScriptedLayer(leased(1))
    async with Channel(layer) as channel, channel.subscribe("t", group="g") as sub:
        delivery = await anext(sub)
        sub._tracker.expire([delivery._entry], seen=True)
        sub._tracker.settled([delivery._entry], [Outcome.LOST])
        statistics = sub.statistics()
        assert (statistics.open_bytes, statistics.lost, statistics.released) == (0, 1, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": 1.0, "at": 2.0}, "both say when: give one of them"),
        ({"at": datetime(2030, 1, 1)}, "without a time zone; give an aware one"),  # noqa: DTZ001
        ({"at": "tomorrow"}, "at='tomorrow'"),
        ({"delay": -1.0}, "delay=-1.0"),
    ],
)
async def test_when_a_message_is_due_is_said_once_and_for_certain(
    options: dict[str, Any], words: str
) -> None:
    async with Channel(MemoryQueueLayer()) as channel:
        with pytest.raises(ConfigurationError, match=words):
            await channel.publish("t", 1, **options)


async def test_a_layer_that_keeps_nothing_back_refuses_a_delay() -> None:
    layer = ScriptedLayer()
    async with Channel(layer) as channel:
        with pytest.raises(CapabilityError, match="publish it when it is due"):
            await channel.publish("t", 1, delay=1.0)
    assert layer.published == []


@pytest.mark.parametrize("capacity", [0, -1, 2.5, True])
def test_a_stream_without_room_for_anything_is_refused(capacity: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"capacity=.*needs to be at least 1"):
        Stream(capacity)
