"""Redis Streams: settlements and leases, seen through `XPENDING` and its like."""

import random

import anyio
import pytest

from acked.errors import LayerError
from acked.layers.redis_streams import _receiver
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._scripts import FAILURE, FREE
from acked.types import Leased, Record, Settlement, Verb
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LONG,
    LOST,
    SOON,
    Oracle,
    acks,
    bodies,
    consuming,
    let_leases_end,
    nacks,
    only_a_sentinel_comes,
    pending,
    receive,
    records,
)

pytestmark = pytest.mark.anyio


async def test_a_settlement_of_what_another_has_claimed_changes_nothing(
    layer, topic, oracle
) -> None:
    await layer.publish(records(topic, *range(6)))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 6)
        ids = [one.position for one in got]
        oracle.xclaim(topic, GROUP, "another", 0, ids[:5])
        before = pending(oracle, topic)
        letter = Record(topic + ".dead", b"", "x")
        assert await feed.settle(
            [
                Settlement(got[0].token, Verb.ACK),
                Settlement(got[1].token, Verb.NACK),
                Settlement(got[2].token, Verb.NACK, delay=9.0),
                Settlement(got[3].token, Verb.REJECT),
                Settlement(got[4].token, Verb.REJECT, dead_letter=letter),
                Settlement(got[5].token, Verb.ACK),
            ]
        ) == [LOST] * 5 + [CONFIRMED]
        assert await feed.extend([one.token for one in got], LONG) == [LOST] * 6
        await feed.release([one.token for one in got])
        del before[ids[5]]
        assert pending(oracle, topic) == before
        assert not oracle.exists(topic + ".dead")


async def test_an_old_token_is_stale_even_if_the_entry_came_back_to_us(
    layer, topic, oracle
) -> None:
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic) as feed:
        (first,) = await receive(feed, 1)
        let_leases_end(oracle, topic)
        async with consuming(layer, topic) as other:
            await other.settle(nacks(await receive(other, 1)))
        (second,) = await receive(feed, 1)
        assert (second.position, second.attempt) == (first.position, 3)
        assert await feed.settle(acks([first])) == [LOST]
        assert await feed.settle(acks([second])) == [CONFIRMED]


async def test_a_token_is_stale_after_our_own_nack(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1, 2))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 2)
        assert await feed.settle(nacks(got, LONG)) == [CONFIRMED] * 2
        for settlement in (acks(got), nacks(got)):
            assert await feed.settle(settlement) == [LOST] * 2
        assert await feed.extend([one.token for one in got], LONG) == [LOST] * 2
        assert pending(oracle, topic) == {one.position: (FREE, FAILURE + 1) for one in got}
        await only_a_sentinel_comes(layer, feed, topic)


@pytest.mark.parametrize("seed", range(8))
async def test_of_any_mixture_exactly_what_is_ours_is_settled(layer, topic, oracle, seed) -> None:
    chance = random.Random(seed)
    await layer.publish(records(topic, *range(400)))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 400)
        again = chance.sample(got, 60)
        assert await feed.settle(nacks(again)) == [CONFIRMED] * 60
        got = [one for one in got if one not in again] + await receive(feed, 60)
        stolen = {one.position for one in chance.sample(got, chance.choice([1, 40, 300]))}
        for position in stolen:
            oracle.xclaim(topic, GROUP, "another", 0, [position])
        batch = chance.sample(got, chance.choice([5, 100, 399, 400]))
        if seed % 2:
            batch.sort(key=lambda one: tuple(map(int, one.position.split("-"))))
        outcomes = await feed.settle(acks(batch))
        assert outcomes == [LOST if o.position in stolen else CONFIRMED for o in batch]
        acked = {one.position for one in batch} - stolen
        assert pending(oracle, topic).keys() == {one.position for one in got} - acked


async def test_a_nacks_delay_survives_its_consumer(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 1)
        due = server_time(oracle) + 0.5
        await feed.settle(nacks(got, 0.5))
    until = oracle.zscore(group_keys(topic, GROUP).until, got[0].position)
    assert until / 1000 >= due
    async with consuming(layer, topic) as feed:
        await only_a_sentinel_comes(layer, feed, topic)
        (again,) = await receive(feed, 1)
        assert server_time(oracle) >= due
        assert again.attempt == 2


def server_time(oracle: Oracle) -> float:
    seconds, microseconds = oracle.time()
    return seconds + microseconds / 1e6


async def test_a_delay_longer_than_the_lease_is_not_cut_short_by_it(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic, lease=0.05) as feed:
        got = await receive(feed, 1)
        await feed.settle(nacks(got, LONG))
        let_leases_end(oracle, topic)
        await only_a_sentinel_comes(layer, feed, topic)
        assert pending(oracle, topic) == {got[0].position: (FREE, FAILURE + 1)}


async def test_moments_that_somebody_deleted_keep_nothing_for_ever(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic, lease=0.05) as feed:
        await feed.settle(nacks(await receive(feed, 1), LONG))
        oracle.delete(group_keys(topic, GROUP).until)
        assert bodies(await receive(feed, 1)) == ["1"]


async def test_a_nack_wakes_a_waiting_consumer(layer, topic, monkeypatch) -> None:
    monkeypatch.setattr(_receiver, "LONGEST_WAIT", LONG)  # without a wake-up it is too late
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic) as one, consuming(layer, topic) as other:
        got = await receive(one, 1)
        woken: list[Leased] = []

        async def wait() -> None:
            woken.extend(await receive(other, 1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.05)
            await one.settle(nacks(got))
        assert [leased.attempt for leased in woken] == [2]
        # And by the end of a delay, which the woken one has to be told of.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.05)
            assert await other.settle(nacks(woken[:1], 0.1)) == [CONFIRMED]
        assert [leased.attempt for leased in woken] == [2, 3]


async def test_a_nack_that_comes_before_the_waiting_begins_is_not_missed(
    layer, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_receiver, "LONGEST_WAIT", LONG)
    await layer.publish(records(topic, 1, 2))
    async with consuming(layer, topic) as one, consuming(layer, topic) as other:
        got = await receive(one, 1)
        assert bodies(await receive(other, 1)) == ["2"]  # has looked; the next look is far away
        await one.settle(nacks(got))
        assert bodies(await receive(other, 1)) == ["1"]


async def test_what_is_nacked_without_end_does_not_starve_what_is_new(layer, topic) -> None:
    await layer.publish(records(topic, *range(20)))
    async with consuming(layer, topic) as feed:
        seen: set[str] = set()
        with anyio.fail_after(LONG):  # thousands of requests
            while len(seen) < 20:
                got = await feed.receive(1)
                seen.update(bodies(got))
                await feed.settle(nacks(got))


async def test_a_silent_consumers_messages_come_in_the_same_receive(layer, topic) -> None:
    await layer.publish(records(topic, 1, 2, 3))
    async with consuming(layer, topic, lease=0.3) as silent:
        held = await receive(silent, 3)
        async with consuming(layer, topic, lease=0.3) as feed:
            with anyio.fail_after(SOON):
                again = await feed.receive(10)
            assert [(one.position, one.attempt) for one in again] == [
                (one.position, 2) for one in held
            ]
            assert await silent.settle(acks(held)) == [LOST] * 3
            assert await feed.settle(acks(again)) == [CONFIRMED] * 3


async def test_an_extended_lease_is_kept_and_charges_no_attempt(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1, 2, 3))
    async with consuming(layer, topic, lease=0.5) as feed:
        short, same, longer = await receive(feed, 3)
        let_leases_end(oracle, topic)
        assert await feed.extend([same.token], 0.5) == [CONFIRMED]
        assert await feed.extend([longer.token], LONG) == [CONFIRMED]
        let_leases_end(oracle, topic)  # only a moment protects from this
        assert await feed.extend([same.token], 0.5) == [CONFIRMED]
        async with consuming(layer, topic, lease=0.5) as other:
            (got,) = await other.receive(10)
            assert (got.position, got.attempt) == (short.position, 2)
            assert await feed.settle(acks([same, longer])) == [CONFIRMED] * 2
            assert await other.settle(acks([got])) == [CONFIRMED]
    assert pending(oracle, topic) == {}
    assert not oracle.exists(group_keys(topic, GROUP).until)


async def test_a_lease_can_be_extended_to_end_early(layer, topic) -> None:
    await layer.publish(records(topic, 1, 2))
    async with consuming(layer, topic) as feed, consuming(layer, topic) as other:
        got = await receive(feed, 2)
        assert await feed.extend([got[0].token], LONG * 2) == [CONFIRMED]
        assert await feed.extend([one.token for one in got], 0.0) == [CONFIRMED] * 2
        assert [one.attempt for one in await receive(other, 2)] == [2, 2]


async def test_what_is_released_is_there_at_once_and_charges_no_attempt(
    layer, topic, oracle
) -> None:
    await layer.publish(records(topic, *range(4)))
    async with consuming(layer, topic) as feed, consuming(layer, topic) as other:
        got = await receive(feed, 4)
        await feed.settle(nacks(got[:2]))
        again = await receive(feed, 2)
        await feed.release([one.token for one in [*got[2:], *again]])
        assert {owner for owner, _ in pending(oracle, topic).values()} == {FREE}
        back = await receive(other, 4)
        assert sorted(one.attempt for one in back) == [1, 1, 2, 2]


async def test_a_dead_letter_that_cannot_be_published_leaves_its_original_owed(
    layer, topic, oracle
) -> None:
    oracle.set(topic + ".dead", "no stream")
    await layer.publish(records(topic, 1, 2))
    async with consuming(layer, topic) as feed:
        bad, good = await receive(feed, 2)
        letter = Record(topic + ".dead", bad.record.body, bad.record.id)
        reject = Settlement(bad.token, Verb.REJECT, dead_letter=letter)
        refused, done = await feed.settle([reject, *acks([good])])
        assert type(refused) is LayerError
        assert "WRONGTYPE" in str(refused)
        assert "dead_letter.lua:" in str(refused)
        assert done is CONFIRMED
        assert list(pending(oracle, topic)) == [bad.position]
        oracle.delete(topic + ".dead")
        assert await feed.settle([reject]) == [CONFIRMED]
    assert pending(oracle, topic) == {}
    assert oracle.xlen(topic + ".dead") == 1


async def test_leaving_gives_back_what_nobody_gave_back_and_deletes_the_consumer(
    layer, topic, oracle
) -> None:
    await layer.publish(records(topic, *range(5)))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 4)
        await feed.settle(acks(got[:1]))
        consumer = next(iter(pending(oracle, topic).values()))[0]
        # As after a lost reply: ours at the server, and nobody here knows.
        oracle.xreadgroup(GROUP, consumer, {topic: ">"})
    names = [row["name"] for row in oracle.xinfo_consumers(topic, GROUP)]
    assert names == [FREE]
    async with consuming(layer, topic) as feed:
        back = {body: one.attempt for one in await receive(feed, 4) for body in bodies([one])}
    assert back == {"1": 2, "2": 2, "3": 2, "4": 1}
