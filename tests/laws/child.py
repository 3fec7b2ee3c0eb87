"""A consumer in a process of its own, to be killed: `child.py hold|ack URL TOPIC GROUP N LEASE`."""

import os
import signal
import sys

import anyio

from acked import Channel


async def main(mode: str, url: str, topic: str, group: str, count: int, lease: float) -> None:
    async with (
        Channel.from_url(url) as channel,
        channel.subscribe(topic, group=group, lease=lease, in_flight=count) as subscription,
    ):
        held = [await anext(subscription) for _ in range(count)]
        print("ready", flush=True)
        if mode == "ack":
            async with anyio.create_task_group() as tasks:
                for delivery in held:
                    tasks.start_soon(delivery.ack)
            os.kill(os.getpid(), signal.SIGKILL)
        await anyio.sleep_forever()


if __name__ == "__main__":
    _, mode, url, topic, group, count, lease = sys.argv
    anyio.run(main, mode, url, topic, group, int(count), float(lease))
