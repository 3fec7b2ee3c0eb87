"""The worker on acked; as a program, it publishes so many orders."""

import asyncio
import sys

import ledger

from acked import App, Channel, Topic

ORDERS = Topic("orders", int)
URL = ledger.URL.replace("redis://", "redis-streams://")

app = App(URL)
options = {"lease": ledger.RECOVERY} if ledger.IS_CAREFUL else {}


@app.consumer(ORDERS, group="shop", concurrency=ledger.AT_ONCE, **options)
async def handle(order: int) -> None:
    await ledger.handle(order)


async def publish(count: int) -> None:
    async with Channel.from_url(URL) as channel:
        await channel.publish_many(ORDERS, range(count))


if __name__ == "__main__":
    asyncio.run(publish(int(sys.argv[1])))
