"""The original's own use, on any URL: two subscribers of a room, one of another."""

from _stage import make_topics, messages, play
from broadcaster import Broadcast


async def main(url, room):
    if url.startswith("kafka"):
        await make_topics(url, room, f"{room}-other")
    broadcast = Broadcast(url)
    await broadcast.connect()
    try:
        async with (
            broadcast.subscribe(channel=room) as ann,
            broadcast.subscribe(room) as bob,
            broadcast.subscribe(f"{room}-other") as eve,
        ):
            for n in range(20):
                await broadcast.publish(channel=room, message=f"message {n}")
            await broadcast.publish(f"{room}-other", "hello")
            found = {
                "ann": await messages(ann, 20),
                "bob": await messages(bob, 20),
                "eve": await messages(eve, 1),
            }
        return {**found, "left": sorted(broadcast._subscribers)}
    finally:
        await broadcast.disconnect()


play(main)
