"""A worker whose handlers take for ever: `python -m tests.worker.slow LOOP URL TOPIC DRAIN`.

It prints a line for each handler that begins, drains on SIGTERM, and then says so.
"""

import signal
import sys

import anyio

from acked import Channel, Delivery, Topic


async def work(url: str, topic: str, drain: float) -> None:
    """Work until SIGTERM."""

    async def handle(delivery: Delivery[int]) -> None:
        print(delivery.body, delivery.attempt, flush=True)
        await anyio.sleep_forever()

    async def stop() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()
                return

    async with Channel.from_url(url) as channel, anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await channel.process(Topic(topic, int), handle, group="g", concurrency=32, drain=drain)
    print("drained", flush=True)


if __name__ == "__main__":
    loop, url, topic, drain = sys.argv[1:]
    anyio.run(work, url, topic, float(drain), backend=loop)
