"""Fault 21: max_buffer_size=5, and a subscriber that does not read."""

import asyncio

from _stage import play
from starlette_web.common.channels.base import Channel
from starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer

PUBLISHED = 5_000


async def main():
    async with Channel(InMemoryChannelLayer()) as channel:
        async with channel.subscribe("flood", 5) as subscriber:
            before = len(asyncio.all_tasks())
            for n in range(PUBLISHED):
                await channel.publish("flood", n)
            await asyncio.sleep(0)
            blocked = len(asyncio.all_tasks()) - before
            told = subscriber.statistics().missed if hasattr(subscriber, "statistics") else None
            return {"published": PUBLISHED, "blocked": blocked, "told": told}


play(main)
