"""Fault 36: leave one of two channels. Does the other one still hear?"""

from _stage import make_topics, messages, play
from broadcaster import Broadcast


async def main(url, name):
    await make_topics(url, f"{name}-stays", f"{name}-leaves")
    broadcast = Broadcast(url)
    await broadcast.connect()
    async with broadcast.subscribe(f"{name}-stays") as stays:
        await broadcast.publish(f"{name}-stays", "first")
        before = await messages(stays, 1, patience=10.0)
        async with broadcast.subscribe(f"{name}-leaves"):
            pass
        await broadcast.publish(f"{name}-stays", "second")
        after = await messages(stays, 1)
    return {"before": before, "after": after}


play(main)
