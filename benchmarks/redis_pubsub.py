"""Receiving over Redis pub/sub: acked beside redis-py's `listen()`, interleaved.

The server itself publishes, by a script, so that all of this process's time is the receiver's. Both
receive the same typed bodies and are done when the last was decoded. `listen()` bounds nothing,
connects again without a word, and gives no message an id or a time.
"""

import asyncio
from typing import Any, cast

import redis
from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_pubsub import RedisPubSubLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order

PUBLISH = """
local note = string.rep('x', 100)
for i = 1, tonumber(ARGV[1]) do
  redis.call('PUBLISH', KEYS[1], string.format(
    '{"id":%d,"customer":"customer-%d","cents":1999,"note":"%s"}', i, i % 97, note))
end
"""


def publish(url: str, topic: str, count: int) -> None:
    """Let the server publish `count` orders."""
    make = cast("Any", redis.Redis)  # its types are partly unknown
    with make.from_url(url, socket_timeout=None) as client:
        client.eval(PUBLISH, 1, topic, count)


async def by_hand(work: Work) -> None:
    """Iterate over `listen()` and decode."""
    decode = JSON.decoder(Order)
    make = cast("Any", Redis)
    async with make.from_url(work.url, socket_timeout=None) as client, client.pubsub() as ear:
        await ear.subscribe(work.topic)
        messages = ear.listen()
        await anext(messages)  # the confirmation
        with work.clock.running():
            publishing = _publishing(work)
            for _ in range(work.count):
                decode((await anext(messages))["data"])
        await publishing


async def by_acked(work: Work) -> None:
    """Iterate over a subscription that has room for all."""
    async with (
        Channel(RedisPubSubLayer(work.url)) as channel,
        channel.subscribe(Topic(work.topic, Order), capacity=work.count) as subscription,
    ):
        with work.clock.running():
            publishing = _publishing(work)
            for _ in range(work.count):
                message = await anext(subscription)
                assert message.gap is None
        await publishing


def _publishing(work: Work) -> asyncio.Future[None]:
    thread = asyncio.to_thread(publish, work.url, work.topic, work.count)
    return asyncio.ensure_future(thread)


HAND, ACKED = "redis-py, async for in listen()", "acked, async for"

CONTESTS = (
    Contest(
        "redis_pubsub",
        {HAND: by_hand, ACKED: by_acked},
        {"acked / redis-py": (ACKED, HAND)},
        count=(20_000, 40_000),
        rounds=(3, 15),
        broker="redis",
    ),
)
