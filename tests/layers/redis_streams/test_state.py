"""Redis Streams: the server was emptied, filled or demoted, or refuses us."""

import socket
import threading
from collections.abc import Iterator

import anyio
import pytest
import redis
from anyio import wait_all_tasks_blocked

from acked.errors import ConnectionLost, LayerError, PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer
from acked.layers.redis_streams._keys import group_keys
from acked.types import Leased, Record, Settlement, Verb
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
    port_of_nobody,
    receive,
    records,
)

pytestmark = pytest.mark.anyio


async def opening(url: str, timeout: float = 5.0) -> None:
    with anyio.fail_after(SOON):
        async with RedisStreamsLayer(url, timeout=timeout):
            pass


@pytest.fixture
def old_server() -> Iterator[int]:
    """The port of something that calls itself Redis 5.0.14."""
    listener = socket.create_server(("127.0.0.1", 0))
    info = b"# Server\r\nredis_version:5.0.14\r\n"
    replies = {b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%b\r\n" % (len(info), info)}

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while words := connection.recv(65_536).split():
                for command in words:
                    if command in replies:
                        connection.sendall(replies[command])
                    elif command == b"SETINFO":
                        connection.sendall(b"-ERR unknown command\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(SOON)


async def test_nobody_at_the_address_is_a_lost_connection_with_what_to_do() -> None:
    port = port_of_nobody()
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{port} .*check the address") as caught:
        await opening(f"redis://user:secret@127.0.0.1:{port}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_refused_and_not_worth_trying_again(private_redis, login) -> None:
    broker = private_redis(password="right")
    with pytest.raises(LayerError, match="check the user and the password") as caught:
        await opening(f"redis://{login}127.0.0.1:{broker.port}")
    assert not isinstance(caught.value, ConnectionLost)
    assert "wrong" not in str(caught.value).replace("invalid username-password pair", "")
    await opening(broker.url)


async def test_a_server_that_is_too_old_is_refused(old_server) -> None:
    with pytest.raises(LayerError, match=r"version 5\.0; .*6\.2"):
        await opening(f"redis://127.0.0.1:{old_server}")


async def test_a_server_that_does_not_answer_is_lost_within_the_timeout(
    proxy, redis_broker
) -> None:
    way = proxy(redis_broker)
    way.black_hole()
    with pytest.raises(ConnectionLost, match="check the address"):
        await opening(way.url, timeout=0.2)


@pytest.mark.parametrize("deed", ["flushall", "delete", "destroy"])
async def test_a_group_that_was_deleted_is_made_again_from_the_beginning(
    private_redis, topic, deed, caplog
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            await layer.publish(records(topic, "held"))
            held = await receive(feed, 1)
            got: list[Leased] = []

            async def read() -> None:
                while "new" not in bodies(got):
                    got.extend(await feed.receive(10))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await wait_all_tasks_blocked()
                match deed:
                    case "flushall":
                        oracle.flushall()
                    case "delete":
                        oracle.delete(topic)
                    case _:
                        oracle.xgroup_destroy(topic, GROUP)
                if deed != "destroy":  # there it may be ours again already
                    assert await feed.settle(acks(held)) == [LOST]
                with anyio.fail_after(SOON):
                    await layer.publish(records(topic, "new"))
                    while "new" not in bodies(got):
                        await anyio.sleep(0.01)
            # A group alone was deleted: what is still in the stream comes again.
            assert bodies(got) == (["held", "new"] if deed == "destroy" else ["new"])
            assert await feed.settle(acks(got)) == [CONFIRMED] * len(got)
            assert await feed.settle(nacks(held)) == [LOST]
    assert "created again" in caplog.text


async def test_moments_of_a_deleted_group_free_nothing_in_the_new_one(
    redis_broker, topic, oracle
) -> None:
    async with RedisStreamsLayer(redis_broker.url) as layer, consuming(layer, topic) as feed:
        await layer.publish(records(topic, 1))
        got = await receive(feed, 1)
        await feed.settle(nacks(got, LONG))
        oracle.xgroup_destroy(topic, GROUP)
        again = await receive(feed, 1)
        assert again[0].attempt == 1
        assert not oracle.exists(group_keys(topic, GROUP).until)


async def test_a_full_server_still_lets_its_consumers_drain_it(private_redis, topic) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            await layer.publish(records(topic, *range(6)))
            held = await receive(feed, 3)
            oracle.config_set("maxmemory", 1)
            with pytest.raises(PublishFailed, match="maxmemory") as caught:
                await layer.publish(records(topic, 9))
            assert not caught.value.indeterminate
            letter = Record(topic + ".dead", b"", "x")
            reject = Settlement(held[0].token, Verb.REJECT, dead_letter=letter)
            batch = [reject, *nacks(held[1:2], 9.0), *acks(held[2:])]
            *refused, done = await feed.settle(batch)
            assert done is CONFIRMED
            for one in refused:
                assert type(one) is LayerError
                assert one.may_pass
                assert "memory is full" in str(one)
                assert one.__cause__ is not None
            assert await feed.extend([held[0].token], LONG) == [CONFIRMED]
            (too_long,) = await feed.extend([held[0].token], 2 * LONG)
            assert type(too_long) is LayerError
            rest = await receive(feed, 3)
            assert bodies(rest) == ["3", "4", "5"]
            let_leases_end(oracle, topic)
            async with consuming(layer, topic) as other:  # joins although the server is full
                again = await receive(other, 5)
                assert {one.attempt for one in again} == {2}
                await other.release([one.token for one in again[:1]])
                assert await other.settle(nacks(again[1:2])) == [CONFIRMED]
                back = await receive(other, 2)
                assert sorted(one.attempt for one in back) == [2, 3]
                assert await other.settle(acks([*again[2:], *back])) == [CONFIRMED] * 5
            assert pending(oracle, topic) == {}
            oracle.config_set("maxmemory", 0)


async def test_a_demoted_server_is_a_lost_connection_until_it_is_promoted(
    private_redis, topic
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as oracle:
        async with RedisStreamsLayer(broker.url) as layer, consuming(layer, topic) as feed:
            await layer.publish(records(topic, 1))
            oracle.replicaof("127.0.0.1", str(port_of_nobody()))
            with pytest.raises(ConnectionLost, match="read only"):
                await feed.receive(1)
            with pytest.raises(PublishFailed) as caught:
                await layer.publish(records(topic, 2))
            assert not caught.value.indeterminate
            oracle.replicaof("NO", "ONE")
            got = await receive(feed, 1)
            assert await feed.settle(acks(got)) == [CONFIRMED]
