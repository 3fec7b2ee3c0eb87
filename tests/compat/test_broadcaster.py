"""What an application of the original may rely on, point by point."""

import asyncio
import logging
import ssl
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import asyncpg
import pytest
from redis.asyncio import Redis
from redis.credentials import UsernamePasswordCredentialProvider

from acked import ChannelClosed, ConfigurationError, EncodeError, LayerError, MessageTooLarge
from acked.compat._redis_urls import plain_url, url_of
from acked.compat.broadcaster import Broadcast, BroadcastBackend, Event
from acked.compat.broadcaster._base import Subscriber, Unsubscribed
from acked.compat.broadcaster.backends.kafka import KafkaBackend
from acked.compat.broadcaster.backends.memory import MemoryBackend
from acked.compat.broadcaster.backends.postgres import PostgresBackend
from acked.compat.broadcaster.backends.redis import RedisBackend, RedisStreamBackend
from compose.lifecycle import Broker
from tests.fix_brokers import PrivateRedis

pytestmark = pytest.mark.anyio

SOON = 10.0


def name() -> str:
    return f"c{uuid.uuid4().hex}"


async def soon(subscriber: Subscriber) -> Any:
    with anyio.fail_after(SOON):
        return (await subscriber.get()).message


class Fragile(BroadcastBackend):
    """Fails when it is told to."""

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.subscribed: list[str] = []
        self._published: asyncio.Queue[Event] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def disconnect(self) -> None:
        pass

    async def subscribe(self, channel: str) -> None:
        self.subscribed.append(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.subscribed.remove(channel)

    async def next_published(self) -> Event:
        waiting = [
            asyncio.create_task(self._published.get()),
            asyncio.create_task(self.failing.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self.failing.is_set():
                raise OSError("the pigeon was eaten")
            return waiting[0].result()
        finally:
            for one in waiting:
                one.cancel()

    async def publish(self, channel: str, message: Any) -> None:
        if channel in self.subscribed:
            self._published.put_nowait(Event(channel, message))


# Built


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryBackend),
        ("redis://localhost", RedisBackend),
        ("rediss://user:secret@localhost:6380/1?ssl_cert_reqs=none", RedisBackend),
        ("redis-stream://localhost", RedisStreamBackend),
        ("rediss-stream://:secret@localhost?ssl_ca_certs=/ca.pem", RedisStreamBackend),
        ("postgres://localhost/db", PostgresBackend),
        ("postgresql://user:secret@localhost/db?sslmode=require", PostgresBackend),
        ("kafka://localhost:9092", KafkaBackend),
        ("kafka://user:secret@one:9092,two:9092?sasl_mechanism=PLAIN", KafkaBackend),
    ],
)
def test_the_scheme_of_a_url_chooses_the_backend_outside_any_loop(
    url: str, kind: type[object]
) -> None:
    assert type(Broadcast(url)._backend) is kind
    assert type(Broadcast(url=url)._backend) is kind


def test_neither_url_nor_backend_is_an_assertion_error_in_the_originals_words() -> None:
    with pytest.raises(AssertionError) as caught:
        Broadcast()
    assert str(caught.value) == "Either `url` or `backend` must be provided."


def test_an_unknown_scheme_is_a_value_error_in_the_originals_words() -> None:
    with pytest.raises(ValueError) as caught:
        Broadcast(url="unknown://")
    assert str(caught.value) == "Unsupported backend: unknown"


def test_a_redis_backend_without_anything_is_an_assertion_error_in_the_originals_words() -> None:
    with pytest.raises(AssertionError) as caught:
        RedisBackend()
    assert str(caught.value) == "conn must be provided if url is not"


@pytest.mark.parametrize("options", [{"on_loss": "panic"}, {"capacity": 0}])
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Broadcast("memory://", **options)


def test_the_base_of_backends_does_nothing_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        BroadcastBackend("anything://")


def test_a_broadcast_shows_no_secret() -> None:
    shown = repr(Broadcast("redis://:hush@localhost"))
    assert shown == "<Broadcast over RedisBackend, not connected>"


# Events


def test_events_are_equal_by_channel_and_message_and_show_both() -> None:
    event = Event("room", "hello")
    assert event == Event(channel="room", message="hello")
    assert event != Event("room", "other")
    assert event != Event("other", "hello")
    assert event != ("room", "hello")
    assert repr(event) == "Event(channel='room', message='hello')"
    assert event.gap is None
    with pytest.raises(TypeError):
        hash(event)


async def test_what_a_subscriber_gets_is_an_event_and_nothing_more_special() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        await broadcast.publish("room", "hello")
        event = await subscriber.get()
        assert type(event) is Event
        assert event == Event("room", "hello")


# Connecting


async def test_connecting_and_disconnecting_are_for_any_task_and_for_more_than_once() -> None:
    broadcast = Broadcast("memory://")
    for _ in range(2):
        await asyncio.create_task(broadcast.connect())
        await asyncio.create_task(broadcast.connect())
        async with broadcast.subscribe("room") as subscriber:
            await broadcast.publish("room", 1)
            assert await soon(subscriber) == 1
        await asyncio.create_task(broadcast.disconnect())
        await broadcast.disconnect()


def test_one_broadcast_serves_one_event_loop_after_another(redis_broker: Broker) -> None:
    broadcast = Broadcast(redis_broker.url)

    async def once() -> None:
        async with broadcast, broadcast.subscribe(channel := name()) as subscriber:
            await broadcast.publish(channel, "hello")
            assert await soon(subscriber) == "hello"

    asyncio.run(once())
    asyncio.run(once())


async def test_what_is_not_connected_says_so() -> None:
    broadcast = Broadcast("memory://")
    with pytest.raises(ChannelClosed):
        await broadcast.publish("room", "hello")
    with pytest.raises(ChannelClosed, match="connect"):
        async with broadcast.subscribe("room"):
            pass
    assert broadcast._subscribers == {}


@pytest.mark.parametrize("scheme", ["redis", "redis-stream"])
async def test_redis_publishes_without_being_connected(scheme: str, redis_broker: Broker) -> None:
    url = f"{scheme}://{redis_broker.url.partition('://')[2]}"
    publisher = Broadcast(url)
    async with Broadcast(url) as broadcast, broadcast.subscribe(channel := name()) as subscriber:
        async with anyio.create_task_group() as tasks:
            for n in range(3):
                tasks.start_soon(publisher.publish, channel, n)
        assert {await soon(subscriber) for _ in range(3)} == {"0", "1", "2"}


async def test_disconnecting_ends_the_loops_and_makes_get_raise_unsubscribed() -> None:
    broadcast = Broadcast("memory://")
    await broadcast.connect()
    raised: list[type[BaseException]] = []

    async def iterate() -> None:
        async with broadcast.subscribe("room") as subscriber:
            async for _ in subscriber:
                pass

    async def get() -> None:
        async with broadcast.subscribe("room") as subscriber:
            try:
                await subscriber.get()
            except Unsubscribed as error:
                raised.append(type(error))

    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(iterate)
            tasks.start_soon(get)
            while len(broadcast._subscribers.get("room", ())) < 2:
                await anyio.sleep(0)
            await broadcast.disconnect()
    assert raised == [Unsubscribed]


async def test_disconnecting_within_a_subscription_does_not_wait_for_itself() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        with anyio.fail_after(SOON):
            await broadcast.disconnect()
        with pytest.raises(Unsubscribed):
            await subscriber.get()


@pytest.mark.parametrize("scheme", ["memory", "redis", "redis-stream", "postgres", "own"])
async def test_a_subscriber_that_outstays_a_disconnection_is_in_nobodys_way(
    scheme: str, request: pytest.FixtureRequest
) -> None:
    if scheme == "own":
        broadcast = Broadcast(backend=Fragile())
    elif scheme == "memory":
        broadcast = Broadcast("memory://")
    else:
        broker: Broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
        broadcast = Broadcast(f"{scheme}://{broker.url.partition('://')[2]}")
    channel = name()
    await broadcast.connect()
    async with broadcast.subscribe(channel) as old:
        await broadcast.disconnect()
        await broadcast.connect()
        async with broadcast.subscribe(channel) as new:
            await broadcast.publish(channel, "hello")
            assert await soon(new) == "hello"
        with pytest.raises(Unsubscribed):
            await old.get()
    await broadcast.disconnect()
    assert broadcast._subscribers == {}


# Subscribing


async def test_a_channel_is_forgotten_when_its_last_subscriber_has_left_whichever_way() -> None:
    async with Broadcast("memory://") as broadcast:
        async with broadcast.subscribe("room"):
            async with broadcast.subscribe(channel="room"):
                assert len(broadcast._subscribers["room"]) == 2
            assert len(broadcast._subscribers["room"]) == 1
        assert "room" not in broadcast._subscribers
        with pytest.raises(ZeroDivisionError):
            async with broadcast.subscribe("room"):
                raise ZeroDivisionError
        assert "room" not in broadcast._subscribers
        with anyio.move_on_after(0.01):
            async with broadcast.subscribe("room") as subscriber:
                await subscriber.get()
        assert "room" not in broadcast._subscribers


async def test_iterating_again_goes_on_where_it_stopped() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        for n in range(4):
            await broadcast.publish("room", n)
        seen = []
        for _ in range(2):
            async for event in subscriber:
                seen.append(event.message)
                if len(seen) % 2 == 0:
                    break
        assert seen == [0, 1, 2, 3]


async def test_another_task_may_read() -> None:
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        reading = asyncio.create_task(subscriber.get())
        await broadcast.publish("room", "hello")
        with anyio.fail_after(SOON):
            assert await reading == Event("room", "hello")


async def test_an_abandoned_generator_may_be_closed_by_another_task() -> None:
    async with Broadcast("memory://") as broadcast:

        async def stream() -> AsyncGenerator[Event]:
            async with broadcast.subscribe("room") as subscriber:
                async for event in subscriber:
                    yield event

        events = stream()
        first = asyncio.create_task(anext(events))
        while not broadcast._subscribers:
            await anyio.sleep(0)
        await broadcast.publish("room", 1)
        assert (await first).message == 1
        await asyncio.create_task(events.aclose())
        assert broadcast._subscribers == {}


async def test_subscriptions_of_one_task_may_be_left_in_any_order(redis_broker: Broker) -> None:
    async with Broadcast(redis_broker.url) as broadcast:
        first, second = (broadcast.subscribe(name()) for _ in range(2))
        await first.__aenter__()
        subscriber = await second.__aenter__()
        await first.__aexit__(None, None, None)
        (channel,) = broadcast._subscribers
        await broadcast.publish(channel, "hello")
        assert await soon(subscriber) == "hello"
        await second.__aexit__(None, None, None)


# Messages


async def test_memory_hands_over_the_very_object() -> None:
    thing = object()
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("room") as subscriber:
        assert await broadcast.publish(channel="room", message=thing) is None
        assert await soon(subscriber) is thing


@pytest.mark.parametrize("scheme", ["redis", "redis-stream", "postgres", "kafka"])
async def test_brokers_hand_over_text_whatever_was_published(
    scheme: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
    url = f"{scheme}://{broker.url.partition('://')[2]}"
    async with Broadcast(url) as broadcast, broadcast.subscribe(channel := name()) as subscriber:
        for message in (5, 2.5, b"bytes", "text\n\u20ac", b"\xff", "", "acked:t[]\n", "end"):
            await broadcast.publish(channel, message)
        with pytest.raises(EncodeError):
            await broadcast.publish(channel, {"no": "text"})
        heard = [await soon(subscriber) for _ in range(8)]
    assert heard == ["5", "2.5", "bytes", "text\n\u20ac", "\ufffd", "", "acked:t[]\n", "end"]


async def test_a_stream_has_the_originals_entries_and_is_read_by_one_group(
    redis_broker: Broker,
) -> None:
    url = redis_broker.url.replace("redis", "redis-stream", 1)
    channel = name()
    async with Redis.from_url(redis_broker.url) as client, Broadcast(url) as broadcast:
        async with broadcast.subscribe(channel) as one, broadcast.subscribe(channel) as other:
            await client.xadd(channel, {"message": "from the original"})
            await broadcast.publish(channel, "from us")
            for subscriber in (one, other):
                assert await soon(subscriber) == "from the original"
                assert await soon(subscriber) == "from us"
            assert (await client.xinfo_stream(channel))["groups"] == 1
        assert (await client.xinfo_stream(channel))["groups"] == 0  # nobody listens: none is kept
        entries = await client.xrange(channel)
    assert [fields for _, fields in entries] == [
        {b"message": b"from the original"},
        {b"message": b"from us"},
    ]


async def test_a_notification_is_the_bare_text_of_up_to_7999_bytes(
    postgres_broker: Broker,
) -> None:
    channel = name()
    heard: asyncio.Queue[object] = asyncio.Queue()
    other = await asyncpg.connect(postgres_broker.url)
    async with Broadcast(postgres_broker.url) as broadcast:
        await other.add_listener(channel, lambda *found: heard.put_nowait(found[-1]))
        async with broadcast.subscribe(channel) as subscriber:
            largest = "x" * 7999
            await broadcast.publish(channel, largest)
            assert await soon(subscriber) == largest
            with anyio.fail_after(SOON):
                assert await heard.get() == largest
            with pytest.raises(MessageTooLarge):
                await broadcast.publish(channel, largest + "x")
    await other.close()


# Backends


async def test_a_redis_client_lends_its_address_and_credentials(
    private_redis: PrivateRedis,
) -> None:
    broker = private_redis(password="a b/c@d")
    async with Redis.from_url(broker.url) as client:
        async with Broadcast(backend=RedisBackend(conn=client)) as broadcast:
            async with broadcast.subscribe("room") as subscriber:
                await broadcast.publish("room", "hello")
                assert await soon(subscriber) == "hello"
        assert await client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://user:a%20b%2Fc@host:7000/3",
        "redis://:secret@[::1]:7000/0",
        "rediss://host:7000/1?ssl_cert_reqs=none&ssl_check_hostname=False",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_the_url_of_a_redis_client_is_the_one_it_was_made_of(url: str) -> None:
    assert url_of(Redis.from_url(url)) == url


def test_a_redis_client_whose_credentials_change_is_refused() -> None:
    client = Redis(credential_provider=UsernamePasswordCredentialProvider("user", "secret"))
    with pytest.raises(ConfigurationError, match="fixed"):
        RedisBackend(conn=client)


def test_tls_of_a_redis_client_is_taken_over_as_the_constants_of_ssl_too() -> None:
    client = Redis(host="host", ssl=True, ssl_cert_reqs=ssl.CERT_NONE, ssl_check_hostname=False)
    assert "ssl_cert_reqs=none" in url_of(client)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("redis://h?db=3&protocol=3&socket_timeout=5", "redis://h/3"),
        ("redis://h/1?username=u&password=p%2Fw", "redis://u:p%2Fw@h/1"),
        (
            "rediss://u:p@h:1/2?ssl_ca_certs=/ca&max_connections=9",
            "rediss://u:p@h:1/2?ssl_ca_certs=%2Fca",
        ),
    ],
)
def test_options_for_redis_py_that_acked_has_no_use_for_are_left_out_and_logged(
    given: str, plain: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "acked.compat")
    assert plain_url(given) == plain
    assert ("no use" in caplog.text) == ("protocol" in given or "max_connections" in given)
    assert "p%2Fw" not in caplog.text


async def test_kafka_may_be_given_by_several_urls(kafka_broker: Broker) -> None:
    backend = KafkaBackend(urls=[kafka_broker.url, kafka_broker.url])
    channel = name()
    async with Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "hello")
            assert await soon(subscriber) == "hello"


async def test_a_backend_of_ours_can_be_inherited_from_to_change_what_is_published() -> None:
    class Loud(MemoryBackend):
        async def publish(self, channel: str, message: Any) -> None:
            await super().publish(channel, message.upper())

    async with Broadcast(backend=Loud()) as broadcast:
        async with broadcast.subscribe("room") as subscriber:
            await broadcast.publish("room", "hello")
            assert await soon(subscriber) == "HELLO"


async def test_what_an_own_backend_raises_while_listening_reaches_every_subscriber() -> None:
    backend = Fragile()
    async with Broadcast(backend=backend) as broadcast:
        async with broadcast.subscribe("loft") as one, broadcast.subscribe("roof") as other:
            backend.failing.set()
            for subscriber in (one, other):
                with pytest.raises(LayerError, match="OSError: the pigeon was eaten") as caught:
                    await soon(subscriber)
                assert isinstance(caught.value.__cause__, LayerError)
                assert isinstance(caught.value.__cause__.__cause__, OSError)
        with pytest.raises(LayerError, match="the pigeon was eaten"):
            async with broadcast.subscribe("loft"):
                pass


async def test_subscribers_that_come_and_go_at_once_leave_the_channel_as_it_should_be() -> None:
    class Slow(Fragile):
        async def subscribe(self, channel: str) -> None:
            await anyio.sleep(0.001)
            assert channel not in self.subscribed
            await super().subscribe(channel)

        async def unsubscribe(self, channel: str) -> None:
            await anyio.sleep(0.001)
            await super().unsubscribe(channel)

    async def come_and_go(broadcast: Broadcast, stay: float) -> None:
        with anyio.move_on_after(stay):
            async with broadcast.subscribe("loft"):
                await anyio.sleep(stay / 2)

    backend = Slow()
    async with Broadcast(backend=backend) as broadcast:
        async with anyio.create_task_group() as tasks:
            for n in range(40):
                tasks.start_soon(come_and_go, broadcast, n % 7 / 1000)
                await anyio.sleep(0.0005)
        assert backend.subscribed == []
        async with broadcast.subscribe("loft"):
            assert backend.subscribed == ["loft"]


# Bounds


async def test_a_slow_subscriber_drops_the_oldest_counts_them_and_logs_each_episode_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Broadcast("memory://", capacity=10) as broadcast:
        async with broadcast.subscribe("room") as slow, broadcast.subscribe("other") as other:
            for episode in (1, 2):
                for _ in range(2):  # behind, and further behind
                    for n in range(15):
                        await broadcast.publish("room", n)
                    event = await slow.get()
                    assert event.message == 5
                    assert event.gap is not None
                    assert event.gap.missed in {5, 14}
                assert [(await slow.get()).message for _ in range(9)] == list(range(6, 15))
                words = [record.getMessage() for record in caplog.records]
                assert words == episode * [
                    "a subscriber of 'room' is too slow: messages are dropped",
                    "a subscriber of 'room' has missed 19 message(s): it read too slowly",
                ]
            assert slow.statistics().missed == 38
            assert other.statistics().missed == 0


async def test_drops_that_nobody_read_past_are_logged_on_leaving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Broadcast("memory://", capacity=1) as broadcast:
        async with broadcast.subscribe("room"):
            for n in range(3):
                await broadcast.publish("room", n)
    assert "a subscriber of 'room' has missed 2 message(s)" in caplog.text
