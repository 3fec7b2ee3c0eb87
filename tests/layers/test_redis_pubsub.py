"""Redis pub/sub: losses are told, listeners do not disturb one another, nothing is left."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import psutil
import pytest
import redis.asyncio
import trio
from anyio import fail_after, to_thread

from acked import (
    CapabilityError,
    Channel,
    ConfigurationError,
    ConnectionLost,
    Gap,
    GapCause,
    LayerError,
    Overflow,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers import _redis_pubsub_listeners as listeners
from acked.layers import redis_pubsub
from acked.layers._redis_pubsub_envelope import MAGIC, packed, unpacked
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.types import Record
from compose.lifecycle import Broker
from compose.native.process import free_ports

pytestmark = pytest.mark.anyio

RECONNECTED = Gap(None, frozenset({GapCause.RECONNECT}))
OVERFLOWN = frozenset({GapCause.OVERFLOW})
SOON = 20.0

_numbers = itertools.count()


@pytest.fixture
def topic() -> Topic[bytes]:
    return fresh()


def fresh() -> Topic[bytes]:
    return Topic(f"news-{os.getpid()}-{next(_numbers)}", bytes, codec=RAW)


@asynccontextmanager
async def client_of(broker: Broker) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of somebody else's."""
    client = redis.asyncio.Redis.from_url(broker.url)
    try:
        yield client
    finally:
        await client.aclose()


async def until(is_true: Callable[[], bool]) -> None:
    with fail_after(SOON):
        while not is_true():
            await anyio.sleep(0.005)


def tasks() -> set[asyncio.Task]:
    return {one for one in asyncio.all_tasks() if one is not asyncio.current_task()}


def connections_to(port: int) -> int:
    found = psutil.Process().net_connections("tcp")
    return sum(1 for one in found if one.raddr and one.raddr.port == port)


class Recorder:
    """A sink that keeps what it is told; without `room` it has none until `release()`."""

    def __init__(self, *, room: bool = True) -> None:
        self.told: list[object] = []
        self.has_room = asyncio.Event()
        if room:
            self.has_room.set()

    def offer(self, record: Record) -> bool:
        if self.has_room.is_set():
            self.told.append(record.body)
        return self.has_room.is_set()

    async def send(self, record: Record) -> None:
        await self.has_room.wait()
        self.told.append(record.body)

    def gap(self, gap: Gap) -> None:
        self.told.append(gap)

    def fail(self, error: LayerError) -> None:
        self.told.append(error)


# What is published after entering


async def test_what_is_published_after_entering_is_delivered(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        for number in range(20):
            async with channel.subscribe(topic) as sub:
                await channel.publish(topic, b"%d" % number)
                with fail_after(SOON):
                    message = await anext(sub)
                assert (message.body, message.gap) == (b"%d" % number, None)


async def test_many_records_arrive_once_and_in_order(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic, capacity=5000) as sub:
            await channel.publish_many(topic, [b"%d" % n for n in range(3000)])
            with fail_after(SOON):
                assert [int((await anext(sub)).body) for _ in range(3000)] == list(range(3000))


async def test_topics_do_not_leak_into_one_another(redis_broker, topic) -> None:
    longer = Topic(f"{topic.name}-longer", bytes, codec=RAW)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as short, channel.subscribe(longer) as long:
            await channel.publish(longer, b"long")
            await channel.publish(topic, b"short")
            with fail_after(SOON):
                assert (await anext(short)).body == b"short"
                assert (await anext(long)).body == b"long"
            assert short.statistics().buffered == long.statistics().buffered == 0


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", bytes(range(256)), MAGIC, MAGIC + b"\0\0\0\2{}rest", b"x" * 3_000_000]
)
async def test_every_body_arrives_as_it_was(redis_broker, topic, body) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, body)
            with fail_after(SOON):
                assert (await anext(sub)).body == body


async def test_headers_and_key_travel_with_all_the_rest(redis_broker, topic) -> None:
    sent = Record(topic.name, b"\0body", "the-id", "k", {"a": "ü"}, "text/plain", 12.5)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.layer.publish([sent])
            with fail_after(SOON):
                got = await anext(sub)
    assert (got.body, got.id, got.key, got.headers) == (b"\0body", "the-id", "k", {"a": "ü"})
    assert unpacked(topic.name, packed(sent), lambda: "other") == sent


async def test_ids_of_bodies_that_travel_alone_differ(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as one, channel.subscribe(topic) as other:
            await channel.publish_many(topic, [b"same", b"same"])
            with fail_after(SOON):
                ids = [(await anext(one)).id for _ in range(2)]
                assert [(await anext(other)).id for _ in range(2)] == ids
    assert ids[0] != ids[1]


# Strangers


async def test_strangers_publish_and_subscribe_plain_bodies(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, stranger.pubsub() as ear:
            await ear.subscribe(topic.name)
            await ear.get_message(timeout=SOON)
            async with channel.subscribe(topic) as sub:
                await channel.publish(topic, b"\xffours")
                heard = await ear.get_message(timeout=SOON)
                assert heard["data"] == b"\xffours"
                assert await stranger.publish(topic.name, b"\xfetheirs") == 2
                with fail_after(SOON):
                    assert [(await anext(sub)).body for _ in range(2)] == [
                        b"\xffours",
                        b"\xfetheirs",
                    ]


@pytest.mark.parametrize(
    "payload",
    [
        MAGIC,
        MAGIC + b"\xff\xff\xff\xffshort",
        MAGIC + b"\0\0\0\0",
        MAGIC + b"\0\0\0\2{}body",
        MAGIC + b'\0\0\0\4"\xff"x',
        MAGIC + b"\0\0\0\1[",
    ],
)
async def test_a_stranger_s_payload_that_only_looks_like_ours_is_a_body(
    redis_broker, topic, payload
) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.publish(topic.name, payload)
            with fail_after(SOON):
                assert (await anext(sub)).body == payload


async def test_the_native_client_is_the_servers(redis_broker) -> None:
    layer = RedisPubSubLayer(redis_broker.url)
    with pytest.raises(LayerError, match="not connected"):
        _ = layer.client
    async with layer:
        assert await layer.client.ping()


# Losses


async def test_a_cut_is_told_by_a_gap_and_later_messages_arrive(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic) as one, channel.subscribe(topic, fresh()) as two:
            await channel.publish(topic, b"before")
            await until(lambda: all(sub.statistics().buffered == 1 for sub in (one, two)))
            await to_thread.run_sync(between.cut)
            await until(lambda: all(sub.statistics().unknown_gaps == 1 for sub in (one, two)))
            await channel.publish(topic, b"after")
            for sub in (one, two):
                with fail_after(SOON):
                    told = [((m := await anext(sub)).body, m.gap) for _ in range(2)]
                assert told == [(b"before", None), (b"after", RECONNECTED)]


async def test_a_killed_server_that_comes_back_is_a_gap(private_redis, topic) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await to_thread.run_sync(broker.kill)
            with pytest.raises(PublishFailed):
                await channel.publish(topic, b"to nobody")
            await to_thread.run_sync(broker.start)
            await until(lambda: sub.statistics().unknown_gaps == 1)
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                message = await anext(sub)
    assert (message.body, message.gap) == (b"after", RECONNECTED)


async def test_a_connection_the_server_kills_is_a_gap(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with client_of(redis_broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: sub.statistics().unknown_gaps == 1)
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                assert (await anext(sub)).gap == RECONNECTED


async def test_a_silent_connection_is_noticed_by_the_heartbeat(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    layer = RedisPubSubLayer(between.url, heartbeat=0.2, on_loss="raise")
    async with Channel(layer) as channel, channel.subscribe(topic) as sub:
        await to_thread.run_sync(between.black_hole)
        with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:\d+ \(no answer for 0.2 s\)"):
            with fail_after(5):
                await anext(sub)


async def test_a_silence_that_ends_is_a_gap(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    layer = RedisPubSubLayer(between.url, heartbeat=0.2, timeout=0.5)
    async with Channel(layer) as channel, channel.subscribe(topic) as sub:
        await to_thread.run_sync(between.black_hole)
        with pytest.raises(PublishFailed) as caught:
            await channel.publish(topic, b"into the hole")
        assert caught.value.indeterminate
        await to_thread.run_sync(between.heal)
        await until(lambda: sub.statistics().unknown_gaps == 1)
        await channel.publish(topic, b"after")
        with fail_after(SOON):
            message = await anext(sub)
            while message.body == b"into the hole":  # it was written before the network healed
                message = await anext(sub)
        assert message.body == b"after"


async def test_a_loss_is_raised_where_that_was_asked_for_and_listening_goes_on_anew(
    redis_broker, proxy, topic
) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url, on_loss="raise")) as channel:
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, b"before")
            await until(lambda: sub.statistics().buffered == 1)
            await to_thread.run_sync(between.cut)
            with fail_after(SOON):
                assert (await anext(sub)).body == b"before"
                with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1"):
                    await anext(sub)
        async with channel.subscribe(topic) as sub:
            await channel.publish(topic, b"after")
            with fail_after(SOON):
                message = await anext(sub)
    assert (message.body, message.gap) == (b"after", None)


async def test_subscribing_while_nobody_answers_is_refused_at_once(
    redis_broker, proxy, topic
) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic) as sub:
            await to_thread.run_sync(between.refuse)
            await to_thread.run_sync(between.cut)
            with pytest.raises(ConnectionLost, match="check that the server runs"):
                with fail_after(SOON):
                    async with channel.subscribe(fresh()):
                        pass
            await to_thread.run_sync(between.accept)
            await until(lambda: sub.statistics().unknown_gaps == 1)
            async with channel.subscribe(topic) as late:
                await channel.publish(topic, b"after")
                with fail_after(SOON):
                    assert (await anext(sub)).gap == RECONNECTED
                    assert (await anext(late)).gap is None


async def test_a_password_changed_meanwhile_ends_the_subscriptions(private_redis, topic) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        async with client_of(broker) as stranger, channel.subscribe(topic) as sub:
            await stranger.config_set("requirepass", "new")
            await stranger.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(LayerError, match="check the user and the password"):
                with fail_after(SOON):
                    await anext(sub)


async def test_one_forbidden_topic_ends_only_its_subscription(private_redis, topic) -> None:
    broker, secret = private_redis(), Topic("secret", bytes, codec=RAW)
    async with client_of(broker) as admin:
        await admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&*")
        url = broker.url.replace("://", "://u:pw@")
        async with Channel(RedisPubSubLayer(url)) as channel:
            async with channel.subscribe(topic) as sub, channel.subscribe(secret) as forbidden:
                await admin.execute_command("ACL", "SETUSER", "u", "resetchannels", "&news*")
                with fail_after(SOON):
                    with pytest.raises(LayerError, match="refuses 'secret'"):
                        await anext(forbidden)
                    await until(lambda: sub.statistics().unknown_gaps == 1)
                    await channel.publish(topic, b"after")
                    assert (await anext(sub)).body == b"after"
                with pytest.raises(LayerError, match="refuses 'secret'"):
                    async with channel.subscribe(secret):
                        pass
                with pytest.raises(PublishFailed) as caught:
                    await channel.publish(secret, b"x")
                assert not caught.value.indeterminate


async def test_subscribing_into_silence_ends_by_the_deadline(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url, timeout=0.3)) as channel:
        async with channel.subscribe(topic):
            await to_thread.run_sync(between.black_hole)
            with pytest.raises(ConnectionLost, match=r"no confirmation within 0\.3 s"):
                async with channel.subscribe(fresh()):
                    pass


@pytest.mark.parametrize("nonsense", [b"?nonsense\r\n", b"+unasked\r\n" * 9 + b":1\r\n", b"*0\r\n"])
async def test_a_server_that_talks_nonsense_is_a_lost_connection(nonsense) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := await reader.read(1000):
            subscribes = b"SUBSCRIBE" in words
            writer.write(nonsense if subscribes else b"+OK\r\n" * words.count(b"*"))
        writer.close()

    (port,) = free_ports(1)
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    layer, before = RedisPubSubLayer(f"redis://127.0.0.1:{port}", on_loss="raise"), tasks()
    async with server:
        async with Channel(layer) as channel:
            with pytest.raises(ConnectionLost), fail_after(SOON):
                async with channel.subscribe("t"):
                    pass
        await until(lambda: tasks() == before)


# Publishing


async def test_a_lost_answer_is_unknown_and_nothing_is_repeated(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(redis_broker.url)) as watcher:
        async with (
            watcher.subscribe(topic) as sub,
            Channel(RedisPubSubLayer(between.url)) as channel,
        ):
            between.cut_after_bytes(1, "to_client")
            with pytest.raises(PublishFailed) as caught:
                await channel.publish_many(topic, [b"0", b"1"])
            assert caught.value.indeterminate
            assert set(caught.value.failures) == {0, 1}
            await channel.publish(topic, b"end")
            with fail_after(SOON):
                assert [(await anext(sub)).body for _ in range(3)] == [b"0", b"1", b"end"]


async def test_what_was_never_sent_is_not_unknown(private_redis, topic) -> None:
    broker = private_redis()
    async with Channel(RedisPubSubLayer(broker.url)) as channel:
        await to_thread.run_sync(broker.stop)
        with pytest.raises(PublishFailed) as caught:
            await channel.publish(topic, b"x")
        assert not caught.value.indeterminate
        await to_thread.run_sync(broker.start)
        await channel.publish(topic, b"x")


async def test_a_hundred_publishers_at_once_all_get_through(redis_broker, topic) -> None:
    async with Channel(RedisPubSubLayer(redis_broker.url)) as channel:
        async with channel.subscribe(topic) as sub, anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(channel.publish, topic, b"%d" % number)
            with fail_after(SOON):
                assert {int((await anext(sub)).body) for _ in range(100)} == set(range(100))


async def test_cancelled_publishers_leave_the_layer_usable(redis_broker, proxy, topic) -> None:
    between = proxy(redis_broker)
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        await to_thread.run_sync(between.black_hole)
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(channel.publish, topic, b"x")
        await to_thread.run_sync(between.heal)
        with fail_after(SOON):
            for _ in range(40):
                await channel.publish(topic, b"y")


async def test_an_empty_batch_sends_nothing(redis_broker) -> None:
    async with RedisPubSubLayer(redis_broker.url) as layer:
        before = (await layer.client.info("stats"))["total_commands_processed"]
        await layer.publish([])
        assert (await layer.client.info("stats"))["total_commands_processed"] == before + 1


async def test_an_envelope_over_the_limit_is_refused_unsent(
    redis_broker, topic, monkeypatch
) -> None:
    monkeypatch.setattr(redis_pubsub, "MAX_PAYLOAD", 100)
    async with RedisPubSubLayer(redis_broker.url) as layer:
        fits = Record(topic.name, b"x" * 100, "id")
        await layer.publish([fits])
        with pytest.raises(PublishFailed) as caught:
            await layer.publish([fits, Record(topic.name, b"x" * 100, "id", headers={"a": "b"})])
        assert set(caught.value.failures) == {1}


# Listeners beside one another


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


# Opening and closing


async def test_nothing_is_left_after_closing(private_redis, topic) -> None:
    broker, before = private_redis(), tasks()
    channel = Channel(RedisPubSubLayer(broker.url))
    for _ in range(3):
        async with channel:
            async with channel.subscribe(topic) as sub, anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(channel.publish, topic, b"x")
                with fail_after(SOON):
                    assert (await anext(sub)).body == b"x"
            assert connections_to(broker.port) > 0
        assert tasks() == before
        await until(lambda: connections_to(broker.port) == 0)


async def test_closing_does_not_wait_for_a_dead_server(redis_broker, proxy, topic) -> None:
    between, before = proxy(redis_broker), tasks()
    async with Channel(RedisPubSubLayer(between.url)) as channel:
        async with channel.subscribe(topic):
            await to_thread.run_sync(between.refuse)
            await to_thread.run_sync(between.cut)
            with pytest.raises(PublishFailed):
                await channel.publish(topic, b"x")
        closing = anyio.current_time()
    assert anyio.current_time() - closing < 2
    assert tasks() == before


async def test_an_entered_layer_may_be_left_by_another_task(redis_broker, topic) -> None:
    layer, before = RedisPubSubLayer(redis_broker.url), tasks()
    await asyncio.create_task(layer.__aenter__())
    async with layer.listen([topic.name], Recorder()):
        pass
    await asyncio.create_task(layer.__aexit__(None, None, None))
    assert tasks() == before


async def test_nobody_there_is_said_when_opening() -> None:
    (port,) = free_ports(1)
    with pytest.raises(
        ConnectionLost, match=f"no connection to Redis at localhost:{port} "
    ) as caught:
        async with Channel(RedisPubSubLayer(f"redis://me:hidden@localhost:{port}")):
            pass
    assert "hidden" not in str(caught.value)


async def test_a_silent_server_is_said_when_opening(redis_broker, proxy) -> None:
    between = proxy(redis_broker)
    between.black_hole()
    with pytest.raises(ConnectionLost, match=r"no answer within 0\.2 s"):
        async with Channel(RedisPubSubLayer(between.url, timeout=0.2)):
            pass


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_said_when_opening(private_redis, login) -> None:
    broker, before = private_redis(password="right"), tasks()
    url = f"redis://{login}127.0.0.1:{broker.port}"
    with pytest.raises(LayerError, match=f"127.0.0.1:{broker.port} refuses us") as caught:
        async with Channel(RedisPubSubLayer(url)):
            pass
    assert not isinstance(caught.value, ConnectionLost)
    assert "wrong" not in str(caught.value)
    assert tasks() == before
    await until(lambda: connections_to(broker.port) == 0)


async def test_the_right_password_opens(private_redis, topic) -> None:
    broker = private_redis(password="right")
    async with Channel(
        RedisPubSubLayer.from_url(broker.url.replace("redis:", "redis-pubsub:"))
    ) as c:
        async with c.subscribe(topic) as sub:
            await c.publish(topic, b"x")
            with fail_after(SOON):
                assert (await anext(sub)).body == b"x"
        assert "right" not in repr(c)


def test_trio_is_refused_with_what_to_do() -> None:
    async def enter() -> None:
        async with Channel(RedisPubSubLayer()):
            pass

    with pytest.raises(CapabilityError, match="runs on asyncio only; start with"):
        trio.run(enter)


# URLs


def test_a_url_names_the_server_and_the_options() -> None:
    layer = RedisPubSubLayer.from_url("redis-pubsub://u:p@h:1/2?heartbeat=5&on_loss=raise")
    assert repr(layer) == "<RedisPubSubLayer at h:1, listens to: nothing>"
    layer = RedisPubSubLayer.from_url("rediss-pubsub://h?ssl_cert_reqs=none&timeout=3")
    assert repr(layer) == "<RedisPubSubLayer at h:6379, listens to: nothing>"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis-pubsub://h?hartbeat=5", "unknown option 'hartbeat'"),
        ("redis-pubsub://h?socket_timeout=5", "unknown option 'socket_timeout'"),
        ("redis-pubsub://h?heartbeat=often", "heartbeat='often' is no number"),
        ("redis-pubsub://h?heartbeat=0", "above 0"),
        ("redis-pubsub://h?on_loss=ignore", "on_loss='ignore': choose"),
        ("redis-pubsub://h/zero", "no number of a database"),
        ("http://h", "'http' is no scheme"),
        ("redis-pubsub://:hid/den@h", "percent-encode"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_wrong(url, words) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        RedisPubSubLayer.from_url(url)
    assert "hid" not in str(caught.value)


def test_a_layer_refuses_its_options_in_the_plain_url() -> None:
    with pytest.raises(ConfigurationError, match="unknown option 'heartbeat'"):
        RedisPubSubLayer("redis://h?heartbeat=5")
