"""Each broker does, with its own client, what the library will rest upon."""

from collections.abc import Callable

import asyncpg
import psutil
import pytest
from aiokafka import TopicPartition
from anyio import fail_after, to_thread
from redis.exceptions import AuthenticationError

from compose.lifecycle import NAMES, Broker
from compose.native.process import wait_until
from compose.native.server import NativeBroker
from tests.fix_brokers import PrivateRedis
from tests.smoke.keepers import (
    KEEPERS,
    is_in_mqtt,
    kafka_consumer,
    mqtt_client,
    put_into_kafka,
    put_into_mqtt,
    redis_client,
    unique,
)

pytestmark = pytest.mark.anyio
ModuleBroker = Callable[[str], Broker]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_redis_keeps_an_entry_pending_until_it_is_acknowledged(redis_broker: Broker) -> None:
    stream = unique("stream")
    async with redis_client(redis_broker.url) as client:
        await client.xgroup_create(stream, "group", id="0", mkstream=True)
        entry = await client.xadd(stream, {"n": "1"})
        assert await client.xreadgroup("group", "me", {stream: ">"}) == [
            [stream.encode(), [(entry, {b"n": b"1"})]]
        ]
        assert (await client.xpending(stream, "group"))["pending"] == 1
        assert await client.xack(stream, "group", entry) == 1
        assert (await client.xpending(stream, "group"))["pending"] == 0


async def test_redis_with_a_password_lets_in_only_who_knows_it(
    private_redis: PrivateRedis,
) -> None:
    broker = await to_thread.run_sync(lambda: private_redis(password="correct horse/@"))
    async with redis_client(broker.url) as client:
        assert await client.ping()
    async with redis_client(f"redis://127.0.0.1:{broker.port}/0") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()
    assert "horse" not in repr(broker)


async def test_postgres_notifies_a_listener(postgres_broker: Broker) -> None:
    channel = unique("channel")
    listener = await asyncpg.connect(postgres_broker.url)
    speaker = await asyncpg.connect(postgres_broker.url)
    heard: list[object] = []
    await listener.add_listener(channel, lambda *words: heard.append(words[2:]))
    await speaker.execute("select pg_notify($1, $2)", channel, "hello")
    # The server sends a notification before its answer to the listener's next query.
    await listener.fetchval("select 1")
    assert heard == [(channel, "hello")]
    await listener.close()
    await speaker.close()


async def test_a_server_s_processor_time_has_that_of_its_ended_processes(
    postgres_broker: Broker,
) -> None:
    before = postgres_broker.cpu_seconds
    if before is None:
        pytest.skip("nobody tells the processor time of a server that is not ours")
    connection = await asyncpg.connect(postgres_broker.url)
    await connection.fetchval("select sum(i) from generate_series(1, 500000) i")
    await connection.close()
    assert wait_until(lambda: (postgres_broker.cpu_seconds or 0) >= before + 0.02, 10)


async def test_mqtt_delivers_a_message_at_qos_1(mqtt_broker: Broker) -> None:
    topic = unique("topic")
    async with mqtt_client(mqtt_broker.url) as client:
        await client.subscribe(topic, qos=1)
        await client.publish(topic, b"hello", qos=1)
        with fail_after(10):
            message = await anext(aiter(client.messages))
    assert (message.payload, message.qos) == (b"hello", 1)


async def test_kafka_remembers_the_offset_a_group_committed(kafka_broker: Broker) -> None:
    topic = unique("topic")
    partition = TopicPartition(topic, 0)
    await put_into_kafka(kafka_broker.url, topic)
    async with kafka_consumer(kafka_broker.url, topic) as consumer:
        with fail_after(20):
            record = await consumer.getone()
        assert (record.value, record.offset) == (topic.encode(), 0)
        await consumer.commit({partition: record.offset + 1})
    async with kafka_consumer(kafka_broker.url, topic) as successor:
        assert await successor.committed(partition) == 1


async def is_kept(broker: Broker, ending: Callable[[], None]) -> bool:
    """Put something in, end the server, start it again on its port, and look."""
    put, is_in = KEEPERS[broker.name]
    mark, url = unique("mark"), broker.url
    await put(url, mark)
    await to_thread.run_sync(ending)
    assert not broker.is_running
    await to_thread.run_sync(broker.start)
    assert broker.url == url
    return await is_in(url, mark)


@pytest.mark.parametrize("name", NAMES)
async def test_a_broker_keeps_what_it_accepted_after_a_stop(
    name: str, module_broker: ModuleBroker
) -> None:
    broker = await to_thread.run_sync(module_broker, name)
    assert await is_kept(broker, broker.stop)


async def test_redis_keeps_an_accepted_entry_after_sigkill(module_broker: ModuleBroker) -> None:
    broker = await to_thread.run_sync(module_broker, "redis")
    assert await is_kept(broker, broker.kill)


async def test_postgres_keeps_a_committed_row_after_sigkill(module_broker: ModuleBroker) -> None:
    broker = await to_thread.run_sync(module_broker, "postgres")
    assert await is_kept(broker, broker.kill)


async def test_kafka_keeps_an_acknowledged_record_after_sigkill(
    module_broker: ModuleBroker,
) -> None:
    broker = await to_thread.run_sync(module_broker, "kafka")
    assert await is_kept(broker, broker.kill)


@pytest.mark.mqtt
async def test_mosquitto_keeps_a_queued_message_after_sigkill_once_it_was_saved(
    module_broker: ModuleBroker,
) -> None:
    broker = await to_thread.run_sync(module_broker, "mqtt")
    if not isinstance(broker, NativeBroker) or broker.folder is None:
        pytest.skip("the saved sessions are inside the container")
    saved = broker.folder / "mosquitto.db"
    mark = unique("mark")
    await put_into_mqtt(broker.url, mark)

    def kill_when_saved() -> None:
        # Accepted is not saved: what came in since the last save, 1 s ago at most, is lost.
        topic_and_payload = 2
        assert wait_until(
            lambda: saved.exists() and saved.read_bytes().count(mark.encode()) > topic_and_payload,
            10,
        )
        broker.kill()
        broker.start()

    await to_thread.run_sync(kill_when_saved)
    assert await is_in_mqtt(broker.url, mark)


@pytest.mark.parametrize("name", NAMES)
async def test_a_paused_broker_is_frozen_and_serves_after_resume(
    name: str, module_broker: ModuleBroker
) -> None:
    broker = await to_thread.run_sync(module_broker, name)
    if not isinstance(broker, NativeBroker):
        pytest.skip("the process is inside the container")
    put, is_in = KEEPERS[name]
    main = psutil.Process(broker.pid)
    tree = [main, *main.children(recursive=True)]
    mark = unique("mark")
    await to_thread.run_sync(broker.pause)
    assert await to_thread.run_sync(lambda: wait_until(lambda: are_stopped(tree), 5))
    await to_thread.run_sync(broker.resume)
    await put(broker.url, mark)
    assert await is_in(broker.url, mark)


def are_stopped(processes: list[psutil.Process]) -> bool:
    return all(process.status() == psutil.STATUS_STOPPED for process in processes)
