"""What passes ends no consumer: told by its own name, once, and over when it is over."""

import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
import redis
from anyio import to_thread

from acked import AckSubscription, Channel
from acked.errors import PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer
from compose.lifecycle import Broker
from tests.layers.redis_streams.kit import GROUP, SOON, port_of_nobody

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("trouble", ["replicas", "password", "rights", "busy"])
async def test_what_passes_ends_no_consumer_and_is_told_once_by_its_name(
    private_redis, topic, caplog, trouble
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        async with Channel(RedisStreamsLayer(broker.url)) as channel:
            async with channel.subscribe(topic, group=GROUP, lease=2.0) as sub, reading(sub) as read:
                end, words = begin(admin, broker, trouble)
                with anyio.fail_after(SOON):
                    while words not in caplog.text:
                        await anyio.sleep(0.01)
                await to_thread.run_sync(end)
                with anyio.fail_after(SOON):
                    while True:
                        with contextlib.suppress(PublishFailed):
                            await channel.publish(topic, "after")
                            break
                    assert await read() == "after"
        assert caplog.text.count(words) == 1
        assert "was deleted" not in caplog.text


@contextlib.asynccontextmanager
async def reading(sub: AckSubscription[object]) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Wait for a message from now on; give what waits until it was read and acked."""
    bodies: list[object] = []
    done = anyio.Event()

    async def read() -> None:
        async with await anext(sub) as delivery:
            bodies.append(delivery.body)
        done.set()

    async def body() -> object:
        await done.wait()
        return bodies[0]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        yield body


def begin(admin: redis.Redis, broker: Broker, trouble: str) -> tuple[Callable[[], object], str]:
    """Begin a trouble; return what ends it, and the words that tell it."""
    if trouble == "replicas":
        admin.config_set("min-replicas-to-write", 1)
        return lambda: admin.config_set("min-replicas-to-write", 0), "fewer replicas"
    if trouble == "rights":
        admin.execute_command("ACL", "SETUSER", "default", "-xreadgroup")
        return lambda: admin.execute_command("ACL", "SETUSER", "default", "+@all"), "refuses us"
    if trouble == "password":
        admin.config_set("requirepass", "new")
        for one in admin.client_list():
            if one["id"] != str(admin.client_id()):
                admin.client_kill_filter(_id=one["id"])
        return lambda: admin.config_set("requirepass", ""), "refuses us"
    admin.config_set("lua-time-limit", 10)
    spinning = threading.Thread(target=lambda: spin(broker))
    spinning.start()

    def end() -> None:
        admin.script_kill()
        spinning.join()

    return end, "a script keeps it busy"


def spin(broker: Broker) -> None:
    with redis.Redis.from_url(broker.url) as other, contextlib.suppress(redis.ResponseError):
        other.eval("local n = 0 while true do n = n + 1 end", 0)


async def test_a_demotion_under_a_waiting_consumer_is_told_as_what_it_is(
    private_redis, topic, caplog
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        async with Channel(RedisStreamsLayer(broker.url)) as channel:
            async with channel.subscribe(topic, group=GROUP) as sub, reading(sub) as read:
                with anyio.fail_after(SOON):
                    while admin.info("clients")["blocked_clients"] == 0:
                        await anyio.sleep(0.01)
                    admin.replicaof("127.0.0.1", str(port_of_nobody()))
                    while "does not serve now" not in caplog.text:
                        await anyio.sleep(0.01)
                    await anyio.sleep(0.5)
                    admin.replicaof("NO", "ONE")
                    while "receiving again" not in caplog.text:
                        await anyio.sleep(0.01)
                        with contextlib.suppress(PublishFailed):
                            await channel.publish(topic, "after")
                    await read()
        assert "was deleted" not in caplog.text
        assert caplog.text.count("does not serve now") == 1
