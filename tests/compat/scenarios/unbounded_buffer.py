"""Fault 21: how many messages wait for a subscriber that does not read?"""

from _stage import play
from broadcaster import Broadcast

PUBLISHED = 100_000


async def main():
    async with Broadcast("memory://") as broadcast, broadcast.subscribe("flood") as subscriber:
        for n in range(PUBLISHED):
            await broadcast.publish("flood", n)
        await broadcast.publish("flood", "end")
        waiting = 0
        while (await subscriber.get()).message != "end":
            waiting += 1
        told = subscriber.statistics().missed if hasattr(subscriber, "statistics") else None
        return {"published": PUBLISHED, "waiting": waiting, "told": told}


play(main)
