"""What passes ends no consumer: told by its own name, once, and over when it is over."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import redis
from anyio import to_thread

from acked import Channel
from acked.errors import PublishFailed
from acked.layers.redis_streams import RedisStreamsLayer
from compose.lifecycle import Broker
from tests.layers.redis_streams.kit import GROUP, SOON, port_of_nobody

pytestmark = pytest.mark.anyio


async def read_one(subscription) -> None:
    with anyio.fail_after(2 * SOON):
        delivery = await anext(subscription)
    assert delivery.body == "after"
    await delivery.ack()


async def told(caplog, words: str) -> None:
    with anyio.fail_after(SOON):
        while words not in caplog.text:
            await anyio.sleep(0.01)


async def published(channel: Channel, topic: str) -> None:
    while True:
        with contextlib.suppress(PublishFailed):
            await channel.publish(topic, "after")
            return
        await anyio.sleep(0.01)


@pytest.mark.parametrize("trouble", ["replicas", "password", "rights", "snapshots", "busy"])
async def test_what_passes_ends_no_consumer_and_is_told_once_by_its_name(
    private_redis, topic, caplog, trouble
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        async with Channel(RedisStreamsLayer(broker.url)) as channel:
            async with channel.subscribe(topic, group=GROUP, lease=2.0) as sub:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read_one, sub)
                    end, words = begin(admin, broker, trouble)
                    try:
                        await told(caplog, words)
                    finally:
                        await to_thread.run_sync(end)
                    with anyio.fail_after(SOON):
                        await published(channel, topic)
        assert caplog.text.count(words) == 1
        assert "was deleted" not in caplog.text


def begin(admin: redis.Redis, broker: Broker, trouble: str) -> tuple[Callable[[], object], str]:
    """Begin a trouble; return what ends it, and the words that tell it."""
    if trouble == "replicas":
        admin.config_set("min-replicas-to-write", 1)
        return lambda: admin.config_set("min-replicas-to-write", 0), "fewer replicas"
    if trouble == "snapshots":
        return no_snapshots(admin), "(MISCONF Redis is configured"
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


def no_snapshots(admin: redis.Redis) -> Callable[[], object]:
    """Let the server's snapshots fail, after which it takes nothing; return what ends it."""
    folder = Path(admin.config_get("dir")["dir"], admin.config_get("dbfilename")["dbfilename"])
    (folder / "in the way").mkdir(parents=True)
    admin.config_set("save", "3600 1")

    def save(status: str) -> None:
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] != status:
            time.sleep(0.02)

    def end() -> None:
        shutil.rmtree(folder)
        save("ok")

    save("err")
    return end


def spin(broker: Broker) -> None:
    with redis.Redis.from_url(broker.url) as other, contextlib.suppress(redis.ResponseError):
        other.eval("local n = 0 while true do n = n + 1 end", 0)


async def test_a_demotion_under_a_waiting_consumer_is_told_as_what_it_is(
    private_redis, topic, caplog
) -> None:
    broker = private_redis()
    with redis.Redis.from_url(broker.url) as admin:
        async with Channel(RedisStreamsLayer(broker.url)) as channel:
            async with channel.subscribe(topic, group=GROUP) as sub:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read_one, sub)
                    with anyio.fail_after(SOON):
                        while admin.info("clients")["blocked_clients"] == 0:
                            await anyio.sleep(0.01)
                    admin.replicaof("127.0.0.1", str(port_of_nobody()))
                    await told(caplog, "does not serve now")
                    await anyio.sleep(0.5)
                    admin.replicaof("NO", "ONE")
                    with anyio.fail_after(SOON):
                        await published(channel, topic)
        assert "was deleted" not in caplog.text
        assert caplog.text.count("does not serve now") == 1
