"""Redis pub/sub: the one connection that listens, and who is behind it, at its edges."""

import asyncio
import logging

import pytest
import redis
from anyio import fail_after, to_thread

from acked import Channel, LayerError
from acked.errors import ConnectionLost
from acked.layers._redis.connection import Connection
from acked.layers._redis.refusals import RefusalBudget
from acked.layers._redis.urls import read_url, readable
from acked.layers.redis_pubsub import RedisPubSubLayer, _slot_listener
from acked.layers.redis_pubsub._connection import NAMED, SHARDED, SLICE, PubSubConnection, dial
from acked.layers.redis_pubsub._listener import RedisListener
from acked.layers.redis_pubsub._slot_listener import SlotListener
from tests.layers.redis_cluster_kit import name_on
from tests.layers.redis_pubsub_kit import (
    SOON,
    Recorder,
    connections_to,
    fresh,
    tasks,
    until,
)

pytestmark = pytest.mark.anyio


def server_at(url: str) -> Connection:
    return Connection(readable(read_url(url)), timeout=SOON, connections=1)


async def test_a_connection_closed_in_the_middle_of_a_burst_delivers_no_more(
    redis_broker, topic
) -> None:
    server, heard = server_at(redis_broker.url), 0
    closing: list[asyncio.Task[None]] = []

    def deliver(_: object) -> None:
        nonlocal heard
        heard += 1
        if not closing:
            closing.append(asyncio.get_running_loop().create_task(wire.aclose()))

    wire = await dial(server, PubSubConnection(deliver))
    answer = asyncio.get_running_loop().create_future()
    wire.subscribe(NAMED, [topic.name.encode()], answer.set_result)
    assert await answer is None
    with redis.Redis.from_url(redis_broker.url) as client, client.pipeline() as many:
        for _ in range(10 * SLICE):
            many.publish(topic.name, b"x")
        many.execute()
    await until(lambda: bool(closing) and closing[0].done())
    assert heard == SLICE
    await wire.aclose()  # a no-op
    await server.aclose()


async def test_nothing_is_written_to_a_connection_that_is_closed(redis_broker, caplog) -> None:
    server = server_at(redis_broker.url)
    wire = await dial(server, PubSubConnection(lambda _: None))
    await wire.aclose()
    for _ in range(10):  # asyncio complains of the sixth time
        wire.ping()
    assert caplog.messages == []
    await server.aclose()


async def test_a_node_that_does_not_serve_a_slot_loses_its_connection(redis_cluster) -> None:
    here, elsewhere, _ = redis_cluster.nodes
    server = server_at(here.url)
    wire = await dial(server, PubSubConnection(lambda _: None))
    wire.subscribe(SHARDED, [name_on(redis_cluster, elsewhere).encode()], lambda _: None)
    with fail_after(SOON):
        assert str(await wire.lost).startswith("MOVED")
    await wire.aclose()
    await server.aclose()


async def test_nobody_is_connected_for_once_the_last_listener_has_left_a_lost_one(
    private_redis, topic, monkeypatch
) -> None:
    monkeypatch.setattr(_slot_listener, "pause", lambda _: 0.1)
    broker, before = private_redis(), tasks()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with channel.subscribe(topic):
            await to_thread.run_sync(broker.kill)
            # What publishes is not looked at before it is used.
            await until(lambda: connections_to(broker.port) < 2)
        await until(lambda: tasks() == before)
        await to_thread.run_sync(broker.start)
        async with channel.subscribe(topic) as sub:  # and who comes then is heard
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                assert (await anext(sub)).body == b"after"


async def test_what_is_on_its_way_to_who_has_left_is_nobody_s(redis_broker, topic) -> None:
    left, stayed, other = Recorder(), Recorder(), fresh()
    async with RedisPubSubLayer(redis_broker.url) as layer, layer.listen([other.name], stayed):
        async with layer.listen([topic.name], left):
            with redis.Redis.from_url(redis_broker.url) as client:  # without a turn of the loop
                client.publish(topic.name, b"late")
                client.publish(other.name, b"heard")
        await until(lambda: stayed.told == [b"heard"])
    assert left.told == []


async def test_a_defect_that_ends_the_listening_is_told_to_who_waits(topic) -> None:
    async def broken(_: PubSubConnection) -> PubSubConnection:
        raise ZeroDivisionError

    listener = RedisListener(Recorder())
    board = SlotListener(
        broken, lambda why: ConnectionLost(str(why)), heartbeat=SOON, reconnects=True, new_id=str
    )
    with pytest.raises(LayerError, match=r"listening ended by ZeroDivisionError"):
        await board.join(listener, NAMED, [topic.name], SOON)


async def test_a_refusal_that_cannot_pass_ends_the_listening_at_once(caplog) -> None:
    for_good = LayerError("no such user")
    with pytest.raises(LayerError) as caught:
        RefusalBudget(logging.getLogger()).note(for_good)
    assert caught.value is for_good
    assert caplog.text == ""


async def test_what_ended_before_its_subscriber_was_in_is_raised_and_not_told() -> None:
    listener, for_good = RedisListener(sink := Recorder()), LayerError("refused")
    listener.fail(for_good)
    with pytest.raises(LayerError) as caught:
        listener.enter()
    assert caught.value is for_good
    assert not sink.told
