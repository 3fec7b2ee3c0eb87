"""The connection that a feed reads with: opened whole or not at all, and left for good."""

import anyio
import pytest
import redis

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.connection import Connection
from acked.layers._redis.reader import Reader
from acked.layers._redis.urls import RedisUrl
from acked.layers.redis_streams import RedisStreamsLayer
from tests.layers.redis_pubsub_kit import connections_to, until
from tests.layers.redis_streams.kit import GROUP, SOON, consuming, fresh, receive, records

pytestmark = pytest.mark.anyio


def server(url: str, timeout: float = 5.0) -> Connection:
    return Connection(RedisUrl(url, {}), timeout=timeout, connections=2)


def reader_of(link: Connection) -> Reader:
    async def home() -> Connection:
        return link

    return Reader(home)


async def test_a_connection_that_was_not_opened_whole_is_closed(redis_broker, proxy) -> None:
    way = proxy(redis_broker)
    reader = reader_of(server(way.url, timeout=0.3))
    way.black_hole()
    with pytest.raises(ConnectionLost, match="no answer within"):
        await reader.open()
    assert not reader.is_open
    await until(lambda: connections_to(way.port) == 0)
    with anyio.move_on_after(0.05):
        await reader.open()
    assert not reader.is_open
    await until(lambda: connections_to(way.port) == 0)


async def test_a_refused_sign_in_leaves_no_connection(private_redis) -> None:
    broker = private_redis(password="right")
    reader = reader_of(server(f"redis://:wrong@127.0.0.1:{broker.port}"))
    with pytest.raises(LayerError, match="refuses us"):
        await reader.open()
    await until(lambda: connections_to(broker.port) == 0)


async def test_who_is_signed_out_is_refused_whatever_else_was_asked(private_redis) -> None:
    """redis-py hangs up on the first such reply: the others would pass for lost, and unknown."""
    broker = private_redis()
    link = server(broker.url)
    reader = reader_of(link)
    await link.ask(b"CONFIG", b"SET", b"requirepass", b"new")
    for opened in (False, True):  # the second time it has an old connection to be ended, too
        if opened:
            reader._name = [b"ID", b"1"]
        with pytest.raises(LayerError, match="refuses us") as caught:
            await reader.open()
        assert not isinstance(caught.value, ConnectionLost)
    await link.aclose()
    replies = await link.exchange([(b"PING",)] * 3)
    assert [type(reply) for reply in replies] == [LayerError] * 3
    await link.aclose()
    await until(lambda: connections_to(broker.port) == 0)


async def test_leaving_ends_a_read_that_the_server_still_believes_in(redis_broker) -> None:
    link = server(redis_broker.url)
    reader = reader_of(link)
    await reader.open()
    connection = reader._connection

    async def stay_open(nowait: bool = False) -> None:
        """Do as a network that swallows our goodbye."""

    theirs = connection.connection
    closing, theirs.disconnect = theirs.disconnect, stay_open
    with redis.Redis.from_url(redis_broker.url) as oracle:
        oracle.xgroup_create("left", GROUP, mkstream=True)
        words = (b"XREADGROUP", b"GROUP", b"group", b"c", b"BLOCK", b"0", b"STREAMS", b"left", b">")
        with anyio.move_on_after(0.2):
            await reader.exchange([words], 60.0)
        assert oracle.info("clients")["blocked_clients"] >= 1
        reader._connection = connection
        await reader.leave()
        assert [one for one in oracle.client_list() if "b" in one["flags"]] == []
        oracle.delete("left")
    await closing(nowait=True)
    await link.aclose()


async def test_what_a_feed_leaves_is_read_by_nobody(redis_broker) -> None:
    topic_name = fresh("left")
    with redis.Redis.from_url(redis_broker.url) as oracle:
        async with RedisStreamsLayer(redis_broker.url) as layer:
            async with consuming(layer, topic_name) as feed:
                with anyio.move_on_after(0.2):
                    await feed.receive(1)
            with anyio.fail_after(SOON):
                while [one for one in oracle.client_list() if "b" in one["flags"]]:
                    await anyio.sleep(0.01)
            await layer.publish(records(topic_name, 1))
            assert oracle.xpending(topic_name, GROUP)["pending"] == 0
            async with consuming(layer, topic_name) as feed:
                (one,) = await receive(feed, 1)
                assert one.attempt == 1
