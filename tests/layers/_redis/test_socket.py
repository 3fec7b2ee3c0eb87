"""A server that is reached by a socket's path: `unix://`."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from acked import Channel
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("redis_broker")]  # else it is not there


@pytest.fixture
def socket_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own have longer names than fit
        path = Path(folder, "redis.sock")
        words = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", folder]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
            yield f"unix://{path}"
            server.terminate()


async def test_both_layers_speak_over_a_socket(socket_url) -> None:
    with anyio.fail_after(10):
        while not Path(socket_url.removeprefix("unix://")).exists():
            await anyio.sleep(0.02)
    async with Channel(RedisStreamsLayer(socket_url)) as channel:
        async with channel.subscribe("t", group="g") as sub:
            await channel.publish("t", 1)
            delivery = await anext(sub)
            assert delivery.body == 1
            await delivery.ack()
        found = {one.name: one.value for one in await channel.check()}
        assert found["password_in_clear"] is False
    async with Channel(RedisPubSubLayer(socket_url)) as channel, channel.subscribe("t") as heard:
        await channel.publish("t", 2)
        assert (await anext(heard)).body == 2
