"""The worker on FastStream; as a program, it publishes so many orders.

With care: what fails stays pending, and a second subscriber claims what has been pending for long,
as its page on Redis Streams has it. `max_workers` is for both.
"""

import asyncio
import sys

import ledger
from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

broker = RedisBroker(ledger.URL)
app = FastStream(broker)
policy = {"ack_policy": AckPolicy.NACK_ON_ERROR} if ledger.IS_CAREFUL else {}


@broker.subscriber(
    stream=StreamSub("orders", group="shop", consumer="worker"),
    max_workers=ledger.AT_ONCE,
    **policy,
)
async def handle(order: int) -> None:
    await ledger.handle(order)


if ledger.IS_CAREFUL:

    @broker.subscriber(
        stream=StreamSub(
            "orders", group="shop", consumer="claimer", min_idle_time=ledger.RECOVERY * 1000
        ),
        max_workers=ledger.AT_ONCE,
        **policy,
    )
    async def claim(order: int) -> None:
        await ledger.handle(order)


async def publish(count: int) -> None:
    async with Redis.from_url(ledger.URL) as client:  # so the group is owed what comes now
        await client.xgroup_create("orders", "shop", id="0", mkstream=True)
    async with RedisBroker(ledger.URL) as publisher:
        for number in range(count):
            await publisher.publish(number, stream="orders")


if __name__ == "__main__":
    asyncio.run(publish(int(sys.argv[1])))
