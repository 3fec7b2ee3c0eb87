"""Redis Streams: records and entries, groups, topics beside one another, options."""

import anyio
import pytest
import redis
from redis.crc import key_slot

from acked.errors import CapabilityError, ConfigurationError, LayerError, PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer, _pulse
from acked.layers.redis_streams._keys import group_keys
from acked.layers.redis_streams._records import backlog_of
from acked.layers.redis_streams._scripts import FREE
from acked.types import Leased, Record, Settlement, Start, Verb
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    GROUP,
    LONG,
    LOST,
    SOON,
    acks,
    bodies,
    consuming,
    let_leases_end,
    nacks,
    pending,
    receive,
    records,
)

pytestmark = pytest.mark.anyio


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
    cases += [
        (Start.at(20.0001), "20"),
        (Start.at(20.001), "30"),
        (Start.at(-1), "10"),
        (Start.LATEST, "new"),
    ]
    for number, (start, _) in enumerate(cases):
        async with consuming(layer, topic, group=f"g{number}", start=start):
            pass
    await layer.publish(records(topic, "new"))
    for number, (_, first) in enumerate(cases):
        async with consuming(layer, topic, group=f"g{number}", start=Start.LATEST) as feed:
            assert bodies(await receive(feed, 1)) == [first]


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
    odd = ("{}", "}}{}", "{{}}}}{}", "{}:a", "{{{}}}", "x{{{}}}", "{}}}", "{{}}{}", "ü{}")
    names = [form.format(topic) for form in odd]
    places = [group_keys(name, group) for name in names for group in ("g", "a:g", "a%3Ag", "ü")]
    keys = [key for place in places for key in place[1:4]]
    assert len(set(keys)) == len(keys)
    for place in places:
        assert {key_slot(key) for key in place[1:4]} == {key_slot(place.stream)}
    async with consuming(layer, *names) as feed:
        await layer.publish([records(name, number)[0] for number, name in enumerate(names)])
        got = await receive(feed, len(names))
        assert {one.record.topic: int(one.record.body) for one in got} == {
            name: number for number, name in enumerate(names)
        }
        assert await feed.settle(nacks(got)) == [CONFIRMED] * len(names)
        assert len(await receive(feed, len(names))) == len(names)


async def test_groups_of_others_whose_names_are_no_text_stop_nobody(layer, topic, oracle) -> None:
    foreign = b"acked-news-\xff"  # and begins as the groups of listeners do
    oracle.xgroup_create(topic, foreign, mkstream=True)
    oracle.xgroup_createconsumer(topic, foreign, "somebody")
    async with consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1))
        assert bodies(got := await receive(feed, 1)) == ["1"]
        assert [[kept.position for kept in page] async for page in layer.browse(topic)] == [
            [got[0].position]
        ]
    assert [one["name"] for one in oracle.xinfo_groups(topic)] == [foreign, GROUP.encode()]


async def test_entries_trimmed_while_they_are_owed_are_counted_and_reported(
    layer, topic, oracle, caplog
) -> None:
    await layer.publish(records(topic, *range(8)))
    async with consuming(layer, topic) as silent, consuming(layer, topic) as feed:
        held = await receive(silent, 8)
        assert await silent.settle(nacks(held[:2], LONG)) == [CONFIRMED] * 2
        let_leases_end(oracle, topic)
        oracle.zadd(group_keys(topic, GROUP).until, {held[0].position: 0, held[1].position: 0})
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
        ("redis-streams://h?keep_settled=-1", "keep_settled is -1"),
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
        await layer.__aexit__(None, None, None)  # again: a no-op
        with pytest.raises(LayerError, match="not open"):
            _ = layer.client


async def test_what_is_no_stream_is_said_by_each_verb(layer, topic, oracle) -> None:
    async with consuming(layer, topic) as feed:
        assert repr(feed).endswith(f" of group {GROUP!r}, 0 held>")
    oracle.delete(topic)
    oracle.set(topic, "no stream")
    with pytest.raises(LayerError, match="WRONGTYPE"):
        async with consuming(layer, topic):
            pass
    with pytest.raises(LayerError, match="WRONGTYPE"):
        _ = [page async for page in layer.browse(topic)]
    with pytest.raises(LayerError, match="WRONGTYPE"):
        await layer.remove(topic, ["1-1"])


@pytest.mark.parametrize("count", [1, 3])
async def test_groups_deleted_under_their_consumer_are_made_again(
    layer, topic, oracle, caplog, count
) -> None:
    topics = [f"{topic}-{n}" for n in range(count)]
    async with consuming(layer, *topics) as feed:
        with anyio.move_on_after(0.05):
            await feed.receive(1)
        for one in topics:
            oracle.xgroup_destroy(one, GROUP)
        await layer.publish([record for one in topics for record in records(one, one)])
        got = [one for _ in topics for one in await receive(feed, 1)]
        assert sorted(bodies(got)) == topics
        assert "created again from the beginning" in caplog.text
        assert await feed.settle(acks(got)) == [CONFIRMED] * count
        caplog.clear()
        for one in topics:
            oracle.xgroup_destroy(one, GROUP)
    assert caplog.messages == []  # who leaves a group that is gone has nothing to give back


def test_how_far_groups_are_behind_is_known_only_where_all_of_it_is_told() -> None:
    group = [b"name", b"g", b"lag", 3, b"pending", 4]
    assert backlog_of([group, [b"name", b"h", b"lag", 0, b"pending", 1]]) == 7
    assert backlog_of([group, [b"name", b"h", b"lag", None, b"pending", 1]]) is None
    assert backlog_of(LayerError("gone")) is None


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_is_refused_at_once(anyio_backend) -> None:
    with pytest.raises(CapabilityError, match="asyncio"):
        async with RedisStreamsLayer("redis://127.0.0.1:1"):
            pass


async def test_the_lag_is_what_the_group_has_not_read(layer, topic, monkeypatch) -> None:
    monkeypatch.setattr(_pulse, "EVERY", 0.01)
    await layer.publish([*records(topic, *range(10)), *records(topic + "-2", *range(5))])
    async with consuming(layer, topic, topic + "-2") as feed:
        assert feed.lag() is None
        with anyio.fail_after(SOON):
            while feed.lag() != 15:
                await anyio.sleep(0.01)
            got = await feed.receive(2)
            await layer.publish(records(topic, "more"))
            while feed.lag() != 16 - len(got):  # although nobody receives
                await anyio.sleep(0.01)
        got = [*got, *await receive(feed, 16 - len(got))]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed.receive, 1)
            with anyio.fail_after(SOON):
                while feed.lag() != 0:
                    await anyio.sleep(0.01)
            await layer.publish(records(topic, "last"))
        assert await feed.settle(acks(got)) == [CONFIRMED] * 16


async def test_where_the_lag_may_not_be_asked_for_it_is_none(private_redis, topic) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        rights = ("+@all", "-xinfo|groups", "~*")
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", *rights)
    async with RedisStreamsLayer(broker.url.replace("://", "://u:pw@")) as layer:
        await layer.publish(records(topic, 1))
        async with consuming(layer, topic) as feed:
            got = await receive(feed, 1)
            assert feed.lag() is None
            assert await feed.settle(acks(got)) == [CONFIRMED]
