"""Receiving over Redis pub/sub: acked beside redis-py's `listen()`, interleaved.

The server itself publishes, by a script, so that all of this process's time is the receiver's. Both
receive the same typed bodies and are done when the last was decoded. `listen()` bounds nothing,
connects again without a word, and gives no message an id or a time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, cast

import msgspec
import redis
from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_pubsub import RedisPubSubLayer
from benchmarks.report import Report
from compose.fleet import create

PUBLISH = """
local note = string.rep('x', 100)
for i = 1, tonumber(ARGV[1]) do
  redis.call('PUBLISH', KEYS[1], string.format(
    '{"id":%d,"customer":"customer-%d","cents":1999,"note":"%s"}', i, i % 97, note))
end
"""


class Order(msgspec.Struct):
    id: int
    customer: str
    cents: int
    note: str


Contender = Callable[[str, str, int], Coroutine[Any, Any, float]]


def publish(url: str, topic: str, count: int) -> None:
    """Let the server publish `count` orders."""
    make = cast("Any", redis.Redis)  # its types are partly unknown
    with make.from_url(url, socket_timeout=None) as client:
        client.eval(PUBLISH, 1, topic, count)


async def by_hand(url: str, topic: str, count: int) -> float:
    """Iterate over `listen()` and decode."""
    decode = JSON.decoder(Order)
    make = cast("Any", Redis)
    async with make.from_url(url, socket_timeout=None) as client, client.pubsub() as ear:
        await ear.subscribe(topic)
        messages = ear.listen()
        await anext(messages)  # the confirmation
        start = perf_counter()
        publishing = asyncio.create_task(asyncio.to_thread(publish, url, topic, count))
        left = count
        async for message in messages:
            decode(message["data"])
            left -= 1
            if not left:
                break
        seconds = perf_counter() - start
        await publishing
    return count / seconds


async def by_acked(url: str, topic: str, count: int) -> float:
    """Iterate over a subscription that has room for all."""
    async with (
        Channel(RedisPubSubLayer(url)) as channel,
        channel.subscribe(Topic(topic, Order), capacity=count) as subscription,
    ):
        start = perf_counter()
        publishing = asyncio.create_task(asyncio.to_thread(publish, url, topic, count))
        left = count
        async for message in subscription:
            assert message.gap is None
            left -= 1
            if not left:
                break
        seconds = perf_counter() - start
        await publishing
    return count / seconds


CONTENDERS: dict[str, Contender] = {
    "redis-py, async for in listen()": by_hand,
    "acked, async for": by_acked,
}


def run(*, quick: bool) -> Report:
    """Measure both on a private server, interleaved, and return what it came to."""
    count, rounds = (20_000, 5) if quick else (40_000, 15)
    best: dict[str, float] = {}
    with create("redis") as broker:
        for turn in range(rounds):
            for name, contender in CONTENDERS.items():
                rate = asyncio.run(contender(broker.url, f"orders-{turn}", count))
                best[name] = max(best.get(name, 0.0), rate)
    report = Report("redis_pubsub", "messages/s", best)
    hand, acked = CONTENDERS
    report.ratio("acked / redis-py", acked, hand)
    return report
