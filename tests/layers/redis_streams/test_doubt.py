"""What nobody answered, what was refused, and what a consumer holds longer than its lease."""

import contextlib

import anyio
import pytest

from acked.clocks import SystemClock
from acked.errors import ConnectionLost
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.types import Leased, Record, Settlement, Verb
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LOST,
    SOON,
    UNKNOWN,
    acks,
    bodies,
    consuming,
    kinds,
    let_leases_end,
    nacks,
    only_a_sentinel_comes,
    pending,
    receive,
    records,
    settlements,
)

pytestmark = pytest.mark.anyio

VERBS = [Verb.ACK, Verb.NACK, Verb.REJECT, "letter"]


def asked(held, verb, topic) -> list[Settlement]:
    if verb == "letter":
        letter = Record(topic + ".dead", b"x", "id")
        return [Settlement(one.token, Verb.REJECT, dead_letter=letter) for one in held]
    return settlements(held, verb)


def test_what_nobody_answered_is_kept_until_its_lease_has_ended() -> None:
    seat = ConsumerState(["t"], GROUP, "c", lease=30.0, on_trimmed=lambda _: None)
    over, ours = ("t", b"1-0"), ("t", b"2-0")
    seat.hold([over], seat.clock.time() - 1.0)
    seat.hold([ours], seat.clock.time() + 600.0)
    assert seat.overdue() == ()
    seat.unconfirmed.update({over: Verb.ACK, ours: Verb.ACK})
    assert seat.overdue() == [over]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_settlement_that_had_worked_unanswered_is_confirmed_when_tried_again(
    redis_broker, proxy, topic, oracle, verb
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1, 2))
        held = await receive(feed, 2)
        batch = asked(held[:1], verb, topic)
        await layer.publish(records(topic + ".elsewhere", 1))
        for _ in range(2):  # however often nobody answers
            way.cut_after_bytes(1, "to_client")
            assert kinds(await feed.settle(batch)) == [UNKNOWN]
        assert await feed.settle(batch) == [CONFIRMED]
        assert await feed.settle(batch) == [LOST]  # decided once; then it is ours no more
        assert oracle.xlen(topic + ".dead") == (1 if verb == "letter" else 0)


async def test_another_verb_than_the_one_that_worked_is_too_late(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1))
        held = await receive(feed, 1)
        way.cut_after_bytes(1, "to_client")
        assert kinds(await feed.settle(acks(held))) == [UNKNOWN]
        assert await feed.settle(nacks(held)) == [LOST]


async def test_an_extension_says_that_it_is_lost_and_leaves_the_settlement_to_be_decided(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1))
        held = await receive(feed, 1)
        way.cut_after_bytes(1, "to_client")
        assert kinds(await feed.settle(acks(held))) == [UNKNOWN]
        assert await feed.extend([held[0].token], 60.0) == [LOST]
        assert await feed.settle(acks(held)) == [CONFIRMED]


async def test_after_its_lease_nobody_can_say_and_a_late_settlement_is_lost(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic, lease=0.3) as feed:
        await layer.publish(records(topic, 1))
        held = await receive(feed, 1)
        way.cut_after_bytes(1, "to_client")
        assert kinds(await feed.settle(acks(held))) == [UNKNOWN]
        await anyio.sleep(0.35)
        assert await feed.settle(acks(held)) == [LOST]


async def test_what_was_never_settled_after_all_comes_again_to_a_consumer_that_is_alone(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic, lease=0.5) as feed:
        await layer.publish(records(topic, *range(3)))
        held = await receive(feed, 3)
        way.cut_after_bytes(1, "to_server")
        assert kinds(await feed.settle(acks(held[:2]))) == [UNKNOWN] * 2
        again: list[Leased] = []
        with contextlib.suppress(ConnectionLost):  # the reading connection may be cut as well
            again += await feed.receive(1)
        again += await receive(feed, 2 - len(again))
        assert [(*bodies([one]), one.attempt) for one in again] == [("0", 2), ("1", 2)]
        assert await feed.settle(acks(held[:2])) == [LOST] * 2
        assert await feed.settle(acks([*again, held[2]])) == [CONFIRMED] * 3


async def test_a_consumer_takes_nothing_from_itself(layer, topic, oracle) -> None:
    async with consuming(layer, topic, lease=0.2) as feed:
        await layer.publish(records(topic, *range(20)))
        held = await receive(feed, 20)
        let_leases_end(oracle, topic)
        await only_a_sentinel_comes(layer, feed, topic)
        await feed.extend([one.token for one in held[:1]], 0.25)  # a moment of its own, over soon
        let_leases_end(oracle, topic)
        await anyio.sleep(0.3)
        await only_a_sentinel_comes(layer, feed, topic)
        assert {count for _, count in pending(oracle, topic).values()} == {1}
        assert await feed.settle(acks(held)) == [CONFIRMED] * 20


async def test_the_holders_lease_decides(layer, topic, oracle) -> None:
    async with consuming(layer, topic, lease=60.0) as holder:
        await layer.publish(records(topic, 1))
        held = await receive(holder, 1)
        async with consuming(layer, topic, lease=0.2) as other:
            row = oracle.xpending_range(topic, GROUP, "-", "+", 1)[0]
            oracle.xclaim(topic, GROUP, row["consumer"], 0, [held[0].position], idle=59_000)
            await only_a_sentinel_comes(layer, other, topic)
            let_leases_end(oracle, topic)
            (taken,) = await receive(other, 1)
            assert taken.position == held[0].position


async def test_of_consumers_that_do_not_tell_the_claimers_lease_decides(
    layer, topic, oracle
) -> None:
    async with consuming(layer, topic, lease=0.2) as feed:
        await layer.publish(records(topic, 1))
        oracle.xreadgroup(GROUP, "somebody else's client", {topic: ">"})
        (taken,) = await receive(feed, 1)
        assert taken.attempt == 2


async def test_a_batch_says_from_when_on_it_is_leased(layer, topic, oracle) -> None:
    clock = SystemClock()
    async with consuming(layer, topic) as feed:
        moments = []

        async def publish_late() -> None:
            while not any(one["cmd"] == "xreadgroup" for one in oracle.client_list()):
                await anyio.sleep(0.01)
            moments.append(clock.time())
            await layer.publish(records(topic, 1))

        before = clock.time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish_late)
            held = await receive(feed, 1)
        assert before <= feed.leased_at <= moments[0]  # the read began before the message was there
        await feed.settle(nacks(held))
        before = clock.time()
        await receive(feed, 1)
        assert before <= feed.leased_at <= clock.time()


async def test_a_client_that_is_unblocked_reads_on_without_a_word(
    layer, topic, oracle, caplog
) -> None:
    got: list[str] = []
    async with consuming(layer, topic) as feed:

        async def read() -> None:
            got.extend(bodies(await feed.receive(1)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            unblocked = 0
            with anyio.fail_after(SOON):
                while unblocked < 20:
                    for one in oracle.client_list():
                        if one["cmd"] == "xreadgroup":
                            unblocked += oracle.client_unblock(one["id"], error=unblocked % 2 == 0)
                    await anyio.sleep(0.01)
            await layer.publish(records(topic, "on"))
    assert got == ["on"]
    assert caplog.messages == []


async def test_a_letter_is_never_lost_for_its_wording_or_its_size(layer, topic, oracle) -> None:
    async with consuming(layer, topic) as feed:
        await layer.publish(records(topic, *range(5)))
        held = await receive(feed, 5)
        dead = topic + ".dead"
        headers = [
            {"reason": "half a pair: \ud800"},
            {"reason": "x" * 100_000},
            {f"h{number}": "v" for number in range(5_000)},
            {"half \udfff a name": "v"},
        ]
        letters = [Record(dead, b"body", "id", "key \ud800", one) for one in headers]
        pairs = zip(held, letters, strict=False)
        batch = [Settlement(one.token, Verb.REJECT, dead_letter=letter) for one, letter in pairs]
        assert await feed.settle([*batch, *acks(held[4:])]) == [CONFIRMED] * 5
        assert pending(oracle, topic) == {}
        kept = [fields for _, fields in oracle.xrange(dead)]
        assert sorted(len(fields) for fields in kept) == [6, 6, 6, 5_005]
        assert any(fields.get(b"h:reason") == b"half a pair: \\ud800" for fields in kept)
        assert {fields[b"key"] for fields in kept} == {b"key \\ud800"}
