"""Redis Streams: what the laws do not know of, seen through `XPENDING` and its like."""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import anyio
import pytest
import redis

from acked.errors import CapabilityError, ConfigurationError, LayerError, PublishFailed
from acked.layers import _redis_intake
from acked.layers._redis_places import place_of
from acked.layers._redis_scripts import FREE
from acked.layers.redis_streams import RedisStreamsLayer
from acked.types import Leased, Outcome, Record, Settlement, Start, Verb
from compose.lifecycle import Broker
from tests.laws.harness import fresh

pytestmark = pytest.mark.anyio

SOON = 10.0
LONG = 60.0
GROUP = "group"
CONFIRMED, LOST, UNKNOWN = Outcome.CONFIRMED, Outcome.LOST, Outcome.UNKNOWN
Oracle = redis.Redis


@pytest.fixture
def topic() -> str:
    return fresh("stream")


@pytest.fixture
def oracle(redis_broker: Broker) -> Iterator[Oracle]:
    with redis.Redis.from_url(redis_broker.url) as client:
        yield client


@pytest.fixture
async def layer(redis_broker: Broker) -> AsyncIterator[RedisStreamsLayer]:
    async with RedisStreamsLayer(redis_broker.url) as opened:
        yield opened


def records(topic: str, *bodies: object, **more: Any) -> list[Record]:
    return [Record(topic, str(body).encode(), f"id-{body}", **more) for body in bodies]


def consuming(layer, *topics: str, group=GROUP, lease=LONG, start=Start.EARLIEST):
    return layer.consume(topics, group, in_flight=1000, lease=lease, start=start)


async def receive(feed, count: int) -> list[Leased]:
    got: list[Leased] = []
    with anyio.fail_after(SOON):
        while len(got) < count:
            got += await feed.receive(count - len(got))
    return got


def bodies(leased: Sequence[Leased]) -> list[str]:
    return [one.record.body.decode() for one in leased]


def settlements(leased: Sequence[Leased], verb: Verb, **more: Any) -> list[Settlement]:
    return [Settlement(one.token, verb, **more) for one in leased]


def acks(leased: Sequence[Leased]) -> list[Settlement]:
    return settlements(leased, Verb.ACK)


def nacks(leased: Sequence[Leased], delay: float = 0.0) -> list[Settlement]:
    return settlements(leased, Verb.NACK, delay=delay)


def pending(oracle: Oracle, topic: str) -> dict[str, tuple[bytes, int]]:
    """Return owner and delivery count of each pending entry, as Redis tells them."""
    rows = oracle.xpending_range(topic, GROUP, "-", "+", 100_000)
    return {r["message_id"].decode(): (r["consumer"], r["times_delivered"]) for r in rows}


def let_leases_end(oracle: Oracle, topic: str) -> None:
    """Make the server believe that every holder has been silent for a day."""
    for row in oracle.xpending_range(topic, GROUP, "-", "+", 1000):
        at = row["message_id"]
        oracle.xclaim(topic, GROUP, row["consumer"], 0, [at], idle=86_400_000, justid=True)


async def only_a_sentinel_comes(layer, feed, topic: str) -> None:
    await layer.publish(records(topic, "sentinel"))
    (only,) = await feed.receive(10)
    assert bodies([only]) == ["sentinel"]
    assert await feed.settle(acks([only])) == [CONFIRMED]


async def test_a_record_arrives_as_it_was_published(layer, topic) -> None:
    every_byte = bytes(range(256)) * 3
    sent = [
        Record(topic, every_byte, "a", "key ü", {"h:x": "", "body": "ß", "": "e"}, "a/b", 1.25),
        Record(topic, b"", "ü", None, {}, "application/octet-stream", 0.1 + 0.2),
        Record(topic, b"\r\n", "c", "", {"n": "v"}, "", 1e18),
    ]
    async with consuming(layer, topic) as feed:
        receipts = await layer.publish(sent)
        got = await receive(feed, 3)
        again = await feed.settle(nacks(got)) and await receive(feed, 3)
    for found in (got, again):
        assert [one.position for one in found] == [r.position for r in receipts]
        for before, after in zip(sent, [one.record for one in found], strict=True):
            assert (after.topic, after.body, after.id) == (topic, before.body, before.id)
            assert (after.key, after.headers) == (before.key, before.headers)
            assert after.timestamp == before.timestamp
            assert after.content_type == before.content_type or not before.content_type


async def test_an_entry_is_readable_with_any_client(layer, topic, oracle) -> None:
    (receipt,) = await layer.publish(
        [Record(topic, b"{}", "7", "k", {"source": "web"}, "application/json", 1.5)]
    )
    ((entry_id, fields),) = oracle.xrange(topic)
    assert entry_id.decode() == receipt.position
    assert fields == {
        b"body": b"{}",
        b"id": b"7",
        b"key": b"k",
        b"content_type": b"application/json",
        b"timestamp": b"1.5",
        b"h:source": b"web",
    }


async def test_entries_of_other_clients_arrive(layer, topic, oracle) -> None:
    oracle.xadd(topic, {"body": "only"}, id="1500-7")
    oracle.xadd(topic, {"user": "42", b"\xff": b"\xfe"}, id="1600-0")
    oracle.xadd(topic, {"body": "b", "id": "i", "content_type": "t", "timestamp": "never"})
    async with consuming(layer, topic) as feed:
        some, none, odd = [one.record for one in await receive(feed, 3)]
    assert (some.body, some.id, some.timestamp) == (b"only", "1500-7", 1.5)
    assert some.content_type == "application/octet-stream"
    assert (none.body, none.id, none.timestamp) == (b"", "1600-0", 1.6)
    assert none.headers == {"user": "42", "\udcff": "\udcfe"}
    assert (odd.id, odd.content_type) == ("i", "t")
    assert odd.timestamp > 1e9


async def test_bytes_that_are_no_text_reach_the_dead_letters_as_they_were(
    layer, topic, oracle
) -> None:
    oracle.xadd(topic, {b"\xff": b"\xfe"})
    async with consuming(layer, topic) as feed:
        (one,) = await receive(feed, 1)
        letter = Record(topic + ".dead", b"", "x", headers=one.record.headers)
        await feed.settle([Settlement(one.token, Verb.REJECT, dead_letter=letter)])
    ((_, fields),) = oracle.xrange(topic + ".dead")
    assert fields[b"h:\xff"] == b"\xfe"


async def test_only_maxlen_trims(redis_broker, topic, oracle) -> None:
    async with RedisStreamsLayer(redis_broker.url) as layer:
        await layer.publish(records(topic, *range(2500)))
    assert oracle.xlen(topic) == 2500
    async with RedisStreamsLayer(redis_broker.url, maxlen=200) as layer:
        await layer.publish(records(topic, "one more"))
    assert 200 <= oracle.xlen(topic) < 400


async def test_a_publish_names_the_members_that_failed(layer, topic, oracle) -> None:
    oracle.set(topic + ".text", "no stream")
    batch = records(topic, 0, 1) + records(topic + ".text", 2) + records(topic, 3)
    with pytest.raises(PublishFailed, match="1 of 4") as caught:
        await layer.publish(batch)
    assert list(caught.value.failures) == [2]
    assert not caught.value.indeterminate
    assert oracle.xlen(topic) == 3
    assert await layer.publish([]) == []


async def test_a_large_publish_keeps_its_order(layer, topic) -> None:
    receipts = await layer.publish(records(topic, *range(2300)))
    assert [receipt.id for receipt in receipts] == [f"id-{n}" for n in range(2300)]
    async with consuming(layer, topic) as feed:
        assert bodies(await receive(feed, 2300)) == [str(n) for n in range(2300)]


async def test_a_group_starts_where_it_was_told_and_goes_on_where_it_was(
    layer, topic, oracle
) -> None:
    for second in (10, 20, 30):
        oracle.xadd(topic, {"body": str(second)}, id=f"{second}000-5")
    cases = [(Start.EARLIEST, "10"), (Start.at(10.001), "20"), (Start.at(20), "20")]
    cases += [(Start.at(20.0001), "30"), (Start.at(-1), "10"), (Start.LATEST, "new")]
    for number, (start, _) in enumerate(cases):
        async with consuming(layer, topic, group=f"g{number}", start=start):
            pass
    await layer.publish(records(topic, "new"))
    for number, (_, first) in enumerate(cases):
        async with consuming(layer, topic, group=f"g{number}", start=Start.LATEST) as feed:
            assert bodies(await receive(feed, 1)) == [first]


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
        (second,) = await receive(feed, 1)
        assert (second.position, second.attempt) == (first.position, 2)
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
        assert pending(oracle, topic) == {one.position: (FREE, 1) for one in got}
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
    until = oracle.zscore(place_of(topic, GROUP).until, got[0].position)
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
        assert pending(oracle, topic) == {got[0].position: (FREE, 1)}


async def test_moments_that_somebody_deleted_keep_nothing_for_ever(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1))
    async with consuming(layer, topic, lease=0.05) as feed:
        await feed.settle(nacks(await receive(feed, 1), LONG))
        oracle.delete(place_of(topic, GROUP).until)
        assert bodies(await receive(feed, 1)) == ["1"]


async def test_a_nack_wakes_a_waiting_consumer(layer, topic, monkeypatch) -> None:
    monkeypatch.setattr(_redis_intake, "LONGEST_WAIT", LONG)  # without a wake-up it is too late
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
    monkeypatch.setattr(_redis_intake, "LONGEST_WAIT", LONG)
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
        with anyio.fail_after(SOON):
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
    assert not oracle.exists(place_of(topic, GROUP).until)


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
        assert await feed.settle([reject, *acks([good])]) == [UNKNOWN, CONFIRMED]
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


async def test_a_busy_topic_does_not_starve_a_quiet_one(layer, topic) -> None:
    busy, quiet = f"{topic}.busy", f"{topic}.quiet"
    await layer.publish(records(busy, *range(1000)))
    await layer.publish(records(quiet, "quiet"))
    for limit in (10, 1):
        async with consuming(layer, busy, quiet, group=f"g{limit}") as feed:
            got = [one for _ in range(3) for one in await feed.receive(limit)]
            assert "quiet" in bodies(got)


async def test_no_more_than_the_limit_comes_even_from_many_topics(layer, topic, oracle) -> None:
    topics = [f"{topic}.{number}" for number in range(5)]
    async with consuming(layer, *topics) as feed:
        got: list[Leased] = []

        async def read() -> None:
            while len(got) < 40:
                found = await feed.receive(2)
                assert len(found) <= 2
                got.extend(found)
                held = sum(oracle.xpending(one, GROUP)["pending"] for one in topics)
                assert held >= len(got)

        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                for number in range(8):
                    await layer.publish([records(one, number)[0] for one in topics])
        assert sorted(bodies(got)) == sorted(str(n) for n in range(8) for _ in topics)
        assert {one.attempt for one in got} == {1}


async def test_what_arrives_beyond_the_limit_is_given_back_at_once_and_uncharged(
    layer, topic, oracle, monkeypatch
) -> None:
    topics = [f"{topic}.{number}" for number in range(5)]
    async with consuming(layer, *topics) as feed:
        read_group = feed._intake._read_group

        async def late(names, count, wait):
            if wait and not oracle.exists(topics[0] + ".late"):  # after the looks that do not wait
                oracle.set(topics[0] + ".late", 1)
                await layer.publish([records(one, 1)[0] for one in topics])
            return await read_group(names, count, wait)

        monkeypatch.setattr(feed._intake, "_read_group", late)
        with anyio.fail_after(SOON):
            got = list(await feed.receive(2))
        assert len(got) == 2
        owners = [owner for one in topics for owner, _ in pending(oracle, one).values()]
        assert owners.count(FREE) == 3
        got += await receive(feed, 3)
        assert {one.record.topic for one in got} == set(topics)
        assert {one.attempt for one in got} == {1}


async def test_topics_and_groups_with_odd_names_do_not_meet(layer, topic) -> None:
    odd = ("{}", "{}:a", "{{{}}}", "x{{{}}}", "{}}}", "{{}}{}", "ü{}")
    names = [form.format(topic) for form in odd]
    places = [place_of(name, group) for name in names for group in ("g", "a:g", "a%3Ag", "ü")]
    keys = [key for place in places for key in place[1:4]]
    assert len(set(keys)) == len(keys)
    async with consuming(layer, *names) as feed:
        await layer.publish([records(name, number)[0] for number, name in enumerate(names)])
        got = await receive(feed, len(names))
        assert {one.record.topic: int(one.record.body) for one in got} == {
            name: number for number, name in enumerate(names)
        }
        assert await feed.settle(nacks(got)) == [CONFIRMED] * len(names)
        assert len(await receive(feed, len(names))) == len(names)


async def test_entries_trimmed_while_they_are_owed_are_counted_and_reported(
    layer, topic, oracle, caplog
) -> None:
    await layer.publish(records(topic, *range(8)))
    async with consuming(layer, topic) as silent, consuming(layer, topic) as feed:
        held = await receive(silent, 8)
        assert await silent.settle(nacks(held[:2], LONG)) == [CONFIRMED] * 2
        let_leases_end(oracle, topic)
        oracle.zadd(place_of(topic, GROUP).until, {held[0].position: 0, held[1].position: 0})
        oracle.xtrim(topic, maxlen=1, approximate=False)
        assert await silent.settle(acks(held[2:3])) == [CONFIRMED]  # settled: not lost
        assert bodies(await receive(feed, 1)) == ["7"]
        assert (feed.trimmed, layer.trimmed) == (6, 6)
        assert list(pending(oracle, topic)) == [held[7].position]
    assert "4 message(s)" in caplog.text
    assert "id-1" not in caplog.text


async def test_a_holder_learns_that_what_it_holds_was_trimmed(layer, topic, oracle) -> None:
    if oracle.info("server")["redis_version"].startswith("6."):
        pytest.skip("Redis 6.2 tells it to whoever claims the entry next, not to its holder")
    await layer.publish(records(topic, *range(3)))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 3)
        oracle.xtrim(topic, maxlen=0, approximate=False)
        assert await feed.settle(nacks(got[:1])) == [LOST]
        assert await feed.extend([got[1].token], LONG * 2) == [LOST]
        assert await feed.settle(acks(got[2:])) == [CONFIRMED]
        assert feed.trimmed == 2
    assert pending(oracle, topic) == {}


async def test_scripts_that_the_server_forgot_are_sent_again(layer, topic, oracle) -> None:
    await layer.publish(records(topic, 1, 2, 3))
    async with consuming(layer, topic) as feed:
        got = await receive(feed, 2)
        oracle.script_flush()
        letter = Record(topic + ".dead", b"", "x")
        reject = Settlement(got[1].token, Verb.REJECT, dead_letter=letter)
        assert await feed.settle([*acks(got[:1]), reject]) == [CONFIRMED] * 2
        oracle.script_flush()
        assert bodies(await receive(feed, 1)) == ["3"]


async def test_nothing_is_said_of_credentials_anywhere(redis_broker) -> None:
    layer = RedisStreamsLayer.from_url("redis-streams://user:secret@nowhere:1/2?maxlen=7")
    assert "secret" not in repr(layer)
    with pytest.raises(LayerError, match="not open") as caught:
        await layer.publish(records("t", 1))
    assert "secret" not in str(caught.value)
    for url in ("redis-streams://u:secret@h?size=7", "redis-streams://u:secret@h?maxlen=many"):
        with pytest.raises(ConfigurationError) as wrong:
            RedisStreamsLayer.from_url(url)
        assert "secret" not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis-streams://h?maxlen=0", "maxlen"),
        ("redis-streams://h?maxlen=-1", "maxlen"),
        ("redis-streams://h?timeout=soon", "timeout"),
        ("redis-streams://h?connections=2.5", "connections"),
        ("redis-streams://h?decode_responses=true", "decode_responses"),
        ("http://h", "http"),
    ],
)
async def test_a_wrong_option_is_named(url, word) -> None:
    with pytest.raises(ConfigurationError, match=word):
        RedisStreamsLayer.from_url(url)


async def test_an_option_of_redis_py_cannot_be_smuggled_in() -> None:
    with pytest.raises(ConfigurationError, match="socket_timeout"):
        RedisStreamsLayer("redis://h?socket_timeout=5")


async def test_a_layer_can_be_opened_again_and_its_client_used(redis_broker, topic) -> None:
    layer = RedisStreamsLayer.from_url(redis_broker.url.replace("redis", "redis-streams", 1))
    for number in range(2):
        async with layer:
            await layer.publish(records(topic, number))
            assert await layer.client.xlen(topic) == number + 1
        with pytest.raises(LayerError, match="not open"):
            _ = layer.client


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_is_refused_at_once(anyio_backend) -> None:
    with pytest.raises(CapabilityError, match="asyncio"):
        async with RedisStreamsLayer("redis://127.0.0.1:1"):
            pass
