"""Redis Streams under cancellation, cuts and kills."""

import contextlib
import random

import anyio
import pytest
import redis

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer, _receiver
from acked.types import Leased, Record, Settlement, Verb
from tests.layers.redis_streams.kit import (
    CONFIRMED,
    LONG,
    SOON,
    UNKNOWN,
    Oracle,
    acks,
    bodies,
    consuming,
    kinds,
    nacks,
    pending,
    receive,
    records,
)

pytestmark = pytest.mark.anyio


async def test_receives_cancelled_at_random_moments_lose_nothing(
    redis_broker, topic, oracle
) -> None:
    chance = random.Random(11)
    got: list[Leased] = []
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, topic) as feed:
        with anyio.fail_after(60):
            for number in range(120):
                with anyio.move_on_after(chance.choice([0, 0.0005, 0.002, 0.004])):
                    got += await feed.receive(3)
                if chance.random() < 0.5:
                    await layer.publish(records(topic, number))
            expected = oracle.xlen(topic)
            got += await receive(feed, expected - len(got))
        assert sorted(one.position for one in got) == [i.decode() for i, _ in oracle.xrange(topic)]
        assert {one.attempt for one in got} == {1}
        assert await feed.settle(acks(got)) == [CONFIRMED] * expected
    assert pending(oracle, topic) == {}


async def test_an_entry_delivered_to_a_read_that_was_just_cancelled_comes_at_once(
    redis_broker, topic, oracle
) -> None:
    got: list[Leased] = []
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, topic) as feed:

        async def read() -> None:
            got.extend(await feed.receive(1))

        for number in range(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.sleep(0.002)
                # Both at once: the entries on their way, and the read's connection closing.
                tasks.start_soon(layer.publish, records(topic, number))
                for _ in range(number % 5):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await layer.publish(records(topic, f"{number}+"))
            with anyio.fail_after(SOON):
                while f"{number}+" not in bodies(got):
                    got += await feed.receive(10)
        assert sorted(one.position for one in got) == [i.decode() for i, _ in oracle.xrange(topic)]
        assert {one.attempt for one in got} == {1}
        assert await feed.settle(acks(got)) == [CONFIRMED] * len(got)


async def test_a_cancelled_read_that_the_server_still_believes_in_gets_nothing(
    redis_broker, topic, oracle, monkeypatch
) -> None:
    monkeypatch.setattr(_receiver, "LONGEST_WAIT", LONG)
    got: list[Leased] = []
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, topic) as feed:

        async def read() -> None:
            got.extend(await feed.receive(1))

        before = blocked_readers(oracle)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            ghost = await another_blocked_reader(oracle, before)
            connection = feed._intake._reader._connection.connection

            async def stay_open(**_: object) -> None:
                pass

            monkeypatch.setattr(connection, "disconnect", stay_open)
            tasks.cancel_scope.cancel()
        assert ghost in blocked_readers(oracle)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await another_blocked_reader(oracle, {*before, ghost})
            with anyio.fail_after(SOON):
                await layer.publish(records(topic, 1))
                while not got:
                    await anyio.sleep(0.01)
        monkeypatch.undo()
        await connection.disconnect(nowait=True)
    assert [one.attempt for one in got] == [1]


async def another_blocked_reader(oracle: Oracle, known: set[str]) -> str:
    with anyio.fail_after(SOON):
        while not blocked_readers(oracle) - known:
            await anyio.sleep(0.01)
    return (blocked_readers(oracle) - known).pop()


def blocked_readers(oracle: Oracle) -> set[str]:
    clients = oracle.client_list()
    return {one["id"] for one in clients if one["cmd"] == "xreadgroup" and "b" in one["flags"]}


async def test_over_a_slow_link_it_receives_fewer_at_a_time(
    redis_broker, proxy, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_receiver, "LONGEST_WAIT", 0.2)
    way = proxy(redis_broker)
    got: list[Leased] = []
    async with RedisStreamsLayer(way.url, timeout=1.0) as layer, consuming(layer, topic) as feed:
        large = b"x" * 768 * 1024
        await layer.publish([Record(topic, large, str(number)) for number in range(12)])
        way.delay(0.02)  # seconds for each piece of 64 KiB: three in the time for all
        with anyio.fail_after(45):
            while len(got) < 12:
                with contextlib.suppress(ConnectionLost):
                    got += await feed.receive(12)
        way.delay(0)
        assert [one.record.id for one in got] == [str(number) for number in range(12)]
        assert {one.attempt for one in got} == {1}


async def test_a_read_whose_reply_was_lost_is_made_up_for_at_once(
    redis_broker, proxy, topic, oracle
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1, 2))
        first = await receive(feed, 1)
        way.cut_after_bytes(10, "to_client")
        with pytest.raises(ConnectionLost):
            await feed.receive(10)
        assert len(pending(oracle, topic)) == 2  # the server delivered it; nobody has seen it
        with anyio.fail_after(SOON):
            second = await feed.receive(10)
        assert [(one.attempt, *bodies([one])) for one in second] == [(1, "2")]
        await reconnected(layer, topic)
        assert await feed.settle(acks([*first, *second])) == [CONFIRMED] * 2


async def test_a_killed_reading_connection_is_reported_and_made_again(
    redis_broker, topic, oracle
) -> None:
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, topic) as feed:
        for number in range(3):
            lost: list[ConnectionLost] = []

            async def read(lost=lost) -> None:
                try:
                    await feed.receive(1)
                except ConnectionLost as error:
                    lost.append(error)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                with anyio.fail_after(SOON):
                    while not lost:
                        await anyio.sleep(0.01)
                        kill_blocked_readers(oracle)
            await layer.publish(records(topic, number))
            assert bodies(await receive(feed, 1)) == [str(number)]


async def reconnected(layer: RedisStreamsLayer, topic: str) -> None:
    """Return when the pooled connection is a fresh one; a cut took the one before."""
    with anyio.fail_after(SOON):
        while True:
            with contextlib.suppress(PublishFailed):
                await layer.publish(records(topic + ".elsewhere", 1))
                return


def kill_blocked_readers(oracle: Oracle) -> None:
    for one in blocked_readers(oracle):
        oracle.client_kill_filter(_id=one)


async def test_what_was_accepted_and_acked_survives_a_kill_of_the_server(
    private_redis, topic
) -> None:
    broker = private_redis()
    async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, *range(6)))
        got = await receive(feed, 4)
        await feed.settle(acks(got[:1]))
        await feed.settle(nacks(got[1:2], 0.2))
        broker.kill()
        with pytest.raises(ConnectionLost):
            await receive(feed, 1)
        assert kinds(await feed.settle(acks(got[2:3]))) == [UNKNOWN]
        with pytest.raises(ConnectionLost):
            await feed.extend([got[2].token], LONG)
        with pytest.raises(PublishFailed):
            await layer.publish(records(topic, "lost"))
        broker.start()
        assert await feed.settle(acks(got[2:])) == [CONFIRMED] * 2
        rest = await receive(feed, 3)
        assert sorted(bodies(rest)) == ["1", "4", "5"]
        assert await feed.settle(acks(rest)) == [CONFIRMED] * 3
        with redis.Redis.from_url(broker.url) as oracle:
            assert pending(oracle, topic) == {}


async def test_a_settlement_whose_answer_was_cut_off_is_unknown_and_decided_when_tried_again(
    redis_broker, proxy, topic, oracle
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, *range(4)))
        got = await receive(feed, 4)
        way.cut_after_bytes(1, "to_client")
        assert kinds(await feed.settle(acks(got[:2]))) == [UNKNOWN] * 2
        assert pending(oracle, topic).keys() == {one.position for one in got[2:]}
        assert await feed.settle(acks(got)) == [CONFIRMED] * 4


async def test_an_extension_whose_answer_was_cut_off_is_a_lost_connection(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1))
        got = await receive(feed, 1)
        way.cut_after_bytes(1, "to_client")
        with pytest.raises(ConnectionLost):
            await feed.extend([got[0].token], LONG)
        assert await feed.settle(acks(got)) == [CONFIRMED]


async def test_a_settlement_that_was_cut_off_on_the_way_is_unknown_and_owed(
    redis_broker, proxy, topic, oracle
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, *range(300)))
        got = await receive(feed, 300)
        for verb in (Verb.ACK, Verb.NACK, Verb.REJECT):
            way.cut_after_bytes(200, "to_server")
            assert (
                kinds(await feed.settle([Settlement(o.token, verb) for o in got]))
                == [UNKNOWN] * 300
            )
        assert len(pending(oracle, topic)) == 300
        assert await feed.settle(acks(got)) == [CONFIRMED] * 300


async def test_giving_back_over_a_lost_connection_raises_nothing(
    redis_broker, proxy, topic, oracle
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url, timeout=0.3) as layer:
        await layer.publish(records(topic, *range(4)))
        async with consuming(layer, topic, lease=0.3) as feed:
            got = await receive(feed, 3)
            way.refuse()
            way.cut()
            await feed.release([one.token for one in got])
        way.accept()
        assert len(pending(oracle, topic)) == 3
        async with consuming(layer, topic, lease=0.3) as feed:
            back: list[str] = []
            while len(back) < 4:
                some = await receive(feed, 1)
                back += bodies(some)
                assert await feed.settle(acks(some)) == [CONFIRMED]
            assert sorted(back) == ["0", "1", "2", "3"]


async def test_a_publish_whose_answer_was_lost_is_not_repeated(
    redis_broker, proxy, topic, oracle
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer:
        for batch in (records(topic, "a"), records(topic + ".b", "b", "c", "d")):
            await reconnected(layer, topic)
            way.cut_after_bytes(1, "to_client")
            with pytest.raises(PublishFailed, match="may have been accepted") as caught:
                await layer.publish(batch)
            assert caught.value.indeterminate
            assert list(caught.value.failures) == list(range(len(batch)))
            assert oracle.xlen(batch[0].topic) == len(batch)


async def test_the_native_client_repeats_nothing_either(redis_broker, proxy, topic, oracle) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer:
        await layer.client.ping()
        way.cut_after_bytes(1, "to_client")
        with pytest.raises(redis.ConnectionError):
            await layer.client.xadd(topic, {"body": "once"})
        assert oracle.xlen(topic) == 1


async def test_answers_that_came_before_a_cut_count(redis_broker, proxy, topic, oracle) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer:
        way.cut_after_bytes(60, "to_client")  # an id of 15 to 22 bytes with its frame of 7
        with pytest.raises(PublishFailed) as caught:
            await layer.publish(records(topic, *range(10)))
        failed = list(caught.value.failures)
        assert failed == list(range(failed[0], 10))
        assert failed[0] > 0


async def test_a_publish_that_found_no_connection_is_not_indeterminate(
    redis_broker, proxy, topic
) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url) as layer:
        way.refuse()
        way.cut()
        with pytest.raises(PublishFailed):  # may be written to a connection that is dead already
            await layer.publish(records(topic, 0))
        with pytest.raises(PublishFailed) as caught:
            await layer.publish(records(topic, *range(1500)))
        assert not caught.value.indeterminate
        assert len(caught.value.failures) == 1500
        way.accept()
        assert len(await layer.publish(records(topic, 1))) == 1


async def test_publishes_cancelled_at_random_moments_leave_the_layer_usable(
    redis_broker, topic, oracle
) -> None:
    chance = random.Random(3)
    async with RedisStreamsLayer(redis_broker.url, connections=3) as layer:
        confirmed: list[str] = []
        for number in range(100):
            with anyio.move_on_after(chance.uniform(0, 0.003)):
                confirmed += [r.position for r in await layer.publish(records(topic, number))]
        confirmed += [r.position for r in await layer.publish(records(topic, "last"))]
        kept = oracle.xrange(topic)
        assert set(confirmed) <= {entry_id.decode() for entry_id, _ in kept}
        assert [sorted(fields) for _, fields in kept] == [
            [b"body", b"content_type", b"id", b"timestamp"]
        ] * len(kept)


async def test_a_black_hole_is_noticed_and_outlived(redis_broker, proxy, topic) -> None:
    way = proxy(redis_broker)
    async with RedisStreamsLayer(way.url, timeout=0.3) as layer:
        async with consuming(layer, topic) as feed:
            await layer.publish(records(topic, 1))
            got = await receive(feed, 1)
            way.black_hole()
            with anyio.fail_after(SOON):
                with pytest.raises(ConnectionLost):
                    await feed.receive(1)
                assert kinds(await feed.settle(acks(got))) == [UNKNOWN]
                with pytest.raises(ConnectionLost):
                    await feed.extend([got[0].token], LONG)
                with pytest.raises(PublishFailed):
                    await layer.publish(records(topic, 2))
            way.heal()
            assert await feed.settle(acks(got)) == [CONFIRMED]  # whether or not it had arrived
        way.black_hole()
        with anyio.fail_after(SOON):
            with contextlib.suppress(LayerError):
                async with consuming(layer, topic):
                    pass
        way.heal()


async def test_a_feed_that_is_left_after_its_layer_leaves_no_connection_open(
    redis_broker, topic, oracle
) -> None:
    url = redis_broker.url.removesuffix("/0") + "/9"  # by which the server tells our connections
    async with contextlib.AsyncExitStack() as late:
        async with RedisStreamsLayer(url) as layer:
            feed = await late.enter_async_context(consuming(layer, topic))
            await layer.publish(records(topic, "one"))
            await receive(feed, 1)
    with anyio.fail_after(SOON):
        while any(client["db"] == "9" for client in oracle.client_list()):
            await anyio.sleep(0.01)
