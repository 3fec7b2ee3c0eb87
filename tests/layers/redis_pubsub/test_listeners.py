"""Redis pub/sub: listeners beside one another disturb nobody and are never deaf."""

import anyio
import pytest
from anyio import fail_after, to_thread

from acked import Channel, ConnectionLost, Gap, Overflow
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_pubsub import _listener as listeners
from acked.types import Record
from tests.layers.redis_pubsub_kit import (
    OVERFLOWN,
    RECONNECTED,
    SOON,
    Recorder,
    client_of,
    tasks,
    until,
)

pytestmark = pytest.mark.anyio


async def test_fifty_subscribers_that_come_and_go_are_never_deaf(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:

        async def come_and_go(number: int) -> None:
            for turn in range(10):
                async with channel.subscribe(topic, capacity=5000) as sub:
                    mine = b"%d.%d" % (number, turn)
                    await channel.publish(topic, mine)
                    while (await anext(sub)).body != mine:
                        pass

        with fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(come_and_go, number)
        async with client_of(redis_broker) as stranger:
            await channel.publish(topic, b"to nobody")
            with fail_after(SOON):
                while await stranger.pubsub_numsub(topic.name) != [(topic.name.encode(), 0)]:
                    await anyio.sleep(0.005)


async def test_cancelled_entering_does_not_harm_who_enters_too(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        await to_thread.run_sync(between.black_hole)
        with fail_after(SOON):
            async with anyio.create_task_group() as group:

                async def enter(*, stays: bool) -> None:
                    with anyio.move_on_after(SOON if stays else 0.1):
                        async with channel.subscribe(topic) as sub:
                            await channel.publish(topic, b"heard")
                            assert (await anext(sub)).body == b"heard"

                async def heal() -> None:
                    await anyio.sleep(0.2)
                    await to_thread.run_sync(between.heal)

                for number in range(6):
                    group.start_soon(lambda stays: enter(stays=stays), number % 2 == 0)
                group.start_soon(heal)


async def test_a_stuck_subscriber_holds_back_neither_the_other_nor_its_own_topic(
    redis_broker, topic
) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with (
            channel.subscribe(topic, capacity=1, overflow=Overflow.BLOCK) as stuck,
            channel.subscribe(topic, capacity=5000) as other,
        ):
            await channel.publish_many(topic, [b"%d" % n for n in range(2000)])
            with fail_after(SOON):
                assert [int((await anext(other)).body) for _ in range(2000)] == list(range(2000))
                assert [int((await anext(stuck)).body) for _ in range(2000)] == list(range(2000))
            assert stuck.statistics().missed == 0


async def test_a_full_backlog_is_told_where_it_happened_with_the_count(
    redis_broker, topic, monkeypatch
) -> None:
    monkeypatch.setattr(listeners, "BACKLOG_BYTES", 3 * (listeners.RECORD_BYTES + 1))
    stuck, other = Recorder(room=False), Recorder()
    async with RedisPubSubLayer(redis_broker.url) as layer:
        async with layer.listen([topic.name], stuck), layer.listen([topic.name], other):
            await layer.publish([Record(topic.name, b"%d" % n, "id") for n in range(8)])
            await until(lambda: len(other.told) == 8)
            async with client_of(redis_broker) as stranger:
                await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: other.told[8:] == [RECONNECTED])
            assert stuck.told == []
            stuck.has_room.set()
            await until(lambda: len(stuck.told) == 4)
            await layer.publish([Record(topic.name, b"8", "id")])
            await until(lambda: len(stuck.told) == 5)
    lost = Gap(5, OVERFLOWN).merge(RECONNECTED)
    assert stuck.told == [b"0", b"1", b"2", lost, b"8"]


async def test_a_failure_comes_behind_what_waits(redis_broker, topic) -> None:
    stuck = Recorder(room=False)
    async with RedisPubSubLayer(redis_broker.url, on_loss="raise") as layer:
        async with layer.listen([topic.name], stuck), client_of(redis_broker) as stranger:
            await layer.publish([Record(topic.name, b"%d" % n, "id") for n in range(2)])
            await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: repr(layer).endswith("nothing>"))
            stuck.has_room.set()
            await until(lambda: len(stuck.told) == 3)
    assert stuck.told[:2] == [b"0", b"1"]
    assert isinstance(stuck.told[2], ConnectionLost)


async def test_leaving_while_something_waits_ends_the_waiting(redis_broker, topic) -> None:
    stuck, other = Recorder(room=False), Recorder()
    async with RedisPubSubLayer(redis_broker.url) as layer:
        before = tasks()
        async with layer.listen([topic.name], other):
            async with layer.listen([topic.name], stuck):
                await layer.publish([Record(topic.name, b"x", "id")])
                await until(lambda: other.told == [b"x"])
            assert len(tasks() - before) == 1  # the one that listens
        stuck.has_room.set()
    assert stuck.told == []


async def test_bursts_do_not_drop_what_a_prompt_reader_has_room_for(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with (
            channel.subscribe(topic, capacity=100) as sub,
            anyio.create_task_group() as group,
        ):
            group.start_soon(channel.publish_many, topic, [b"x" * 20] * 20_000)
            with fail_after(SOON):
                for _ in range(20_000):
                    assert (await anext(sub)).gap is None
