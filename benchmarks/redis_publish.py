"""Publishing to a Redis Stream: acked beside redis-py, one by one, in 64 tasks, and by 500.

All encode the same typed bodies. redis-py makes one XADD of one field; it takes a connection of its
pool for each task, where acked puts what waits into one pipeline.
"""

import asyncio
from typing import Any, Final, cast

from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_streams import RedisStreamsLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer

BATCH: Final = 500
MANY: Final = 64


async def one_by_one_on_redis_py(work: Work) -> None:
    """Await one XADD after the other."""
    encode = JSON.encoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    async with redis.from_url(work.url, socket_timeout=None, protocol=2) as client:
        with work.clock.running():
            for body in orders(work.count):
                await client.xadd(f"{work.topic}-hand", {b"body": encode(body)})
                work.clock.lap()


async def one_by_one(work: Work) -> None:
    """Await one `publish` after the other."""
    topic = Topic(f"{work.topic}-acked", Order)
    async with Channel(RedisStreamsLayer(work.url)) as channel:
        with work.clock.running():
            for body in orders(work.count):
                await channel.publish(topic, body)
                work.clock.lap()


async def in_tasks_on_redis_py(work: Work) -> None:
    """Let 64 tasks each await its XADD, each on a connection of the pool."""
    encode = JSON.encoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    async with redis.from_url(work.url, socket_timeout=None, protocol=2) as client:
        bodies = iter(orders(work.count))

        async def send() -> None:
            for body in bodies:
                await client.xadd(f"{work.topic}-hands", {b"body": encode(body)})

        with work.clock.running():
            await asyncio.gather(*(send() for _ in range(MANY)))


async def in_tasks(work: Work) -> None:
    """Let 64 tasks each await its `publish`."""
    topic = Topic(f"{work.topic}-tasks", Order)
    async with Channel(RedisStreamsLayer(work.url)) as channel:
        bodies = iter(orders(work.count))

        async def send() -> None:
            for body in bodies:
                await channel.publish(topic, body)

        with work.clock.running():
            await asyncio.gather(*(send() for _ in range(MANY)))


async def by_pipelines_on_redis_py(work: Work) -> None:
    """Send pipelines of 500 XADDs, one after the other."""
    encode = JSON.encoder(Order)
    redis = cast("Any", Redis)  # its types are partly unknown
    bodies = orders(work.count)
    async with redis.from_url(work.url, socket_timeout=None, protocol=2) as client:
        with work.clock.running():
            for first in range(0, work.count, BATCH):
                pipeline = client.pipeline(transaction=False)
                for body in bodies[first : first + BATCH]:
                    pipeline.xadd(f"{work.topic}-pipeline", {b"body": encode(body)})
                await pipeline.execute()


async def by_many(work: Work) -> None:
    """Await `publish_many` of 500, one after the other."""
    topic, bodies = Topic(f"{work.topic}-many", Order), orders(work.count)
    async with Channel(RedisStreamsLayer(work.url)) as channel:
        with work.clock.running():
            for first in range(0, work.count, BATCH):
                await channel.publish_many(topic, bodies[first : first + BATCH])


HAND_ONE, ONE = "redis-py, each XADD awaited", "acked, each publish awaited"
HAND_TASKS, TASKS = f"redis-py, {MANY} tasks", f"acked, {MANY} tasks"
HAND_MANY, ADD_MANY = f"redis-py, pipelines of {BATCH}", f"acked, publish_many({BATCH})"
PEER_ONE, PEER_TASKS = "FastStream, each publish awaited", f"FastStream, {MANY} tasks"

CONTESTS = (
    Contest(
        "redis_publish",
        {
            HAND_ONE: one_by_one_on_redis_py,
            ONE: one_by_one,
            PEER_ONE: Peer("faststream", "publish-1"),
            HAND_TASKS: in_tasks_on_redis_py,
            TASKS: in_tasks,
            PEER_TASKS: Peer("faststream", "publish-64"),
            HAND_MANY: by_pipelines_on_redis_py,
            ADD_MANY: by_many,
        },
        {
            "awaited / redis-py": (ONE, HAND_ONE),
            "64 tasks / redis-py": (TASKS, HAND_TASKS),
            "by 500 / redis-py": (ADD_MANY, HAND_MANY),
            "awaited / FastStream": (ONE, PEER_ONE),
            "64 tasks / FastStream": (TASKS, PEER_TASKS),
        },
        count=(20_000, 100_000),
        broker="redis",
        fewer=dict.fromkeys((HAND_ONE, ONE, PEER_ONE, HAND_TASKS, TASKS, PEER_TASKS), 10),
    ),
)
