"""Receiving over Redis pub/sub: acked beside redis-py's `listen()`, interleaved.

The server itself publishes, by a script, so that all of this process's time is the receiver's. Both
receive the same typed bodies and are done when the last was decoded. `listen()` bounds nothing,
connects again without a word, and gives no message an id or a time. Nor do the peers.
"""

import asyncio
from typing import Any, cast

from redis.asyncio import Redis

from acked import JSON, Channel, Topic
from acked.layers.redis_pubsub import RedisPubSubLayer
from benchmarks.contest import Contest, Work
from benchmarks.orders import Order, orders
from benchmarks.peers import Peer
from benchmarks.peers.reading import shout


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
    body = JSON.encoder(Order)(orders(1)[0])
    return asyncio.ensure_future(
        asyncio.to_thread(shout, work.url, work.topic, bytes(body), work.count)
    )


HAND, ACKED = "redis-py, async for in listen()", "acked, async for"
NAMES = {
    "broadcaster": Peer("broadcaster", "redis"),
    "litestar": Peer("litestar", "redis"),
    "channels_redis": Peer("channels_redis", "redis"),
    "starlette_web": Peer("starlette_web", "redis"),
    "FastStream": Peer("faststream", "pubsub"),
}
PEERS = tuple(NAMES)

CONTESTS = (
    Contest(
        "redis_pubsub",
        {HAND: by_hand, ACKED: by_acked, **NAMES},
        {"acked / redis-py": (ACKED, HAND)} | {f"acked / {peer}": (ACKED, peer) for peer in PEERS},
        count=(20_000, 40_000),
        rounds=(3, 15),
        broker="redis",
        fewer=dict.fromkeys(PEERS, 2),
    ),
)
