"""The worker on taskiq-redis; as a program, it publishes so many orders.

With care: what fails is retried by its middleware, what was not acknowledged is claimed after five
seconds instead of ten minutes, and the lock for that does not outlive a worker that was killed.
"""

import asyncio
import sys

import ledger
from taskiq import SimpleRetryMiddleware
from taskiq_redis import RedisStreamBroker

if ledger.IS_CAREFUL:
    broker = RedisStreamBroker(
        ledger.URL,
        idle_timeout=ledger.RECOVERY * 1000,
        unacknowledged_lock_timeout=ledger.RECOVERY,
    ).with_middlewares(SimpleRetryMiddleware(default_retry_count=5, default_retry_label=True))
else:
    broker = RedisStreamBroker(ledger.URL)


@broker.task
async def handle(order: int) -> None:
    await ledger.handle(order)


async def publish(count: int) -> None:
    await broker.startup()
    for number in range(count):
        await handle.kiq(number)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(publish(int(sys.argv[1])))
