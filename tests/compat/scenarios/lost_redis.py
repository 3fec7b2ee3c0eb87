"""Faults 26, 27, 28, 33: the server closes the connection that listens.

One message is published before the client is back, then one every tenth of a second.
"""

import asyncio
import itertools

from _stage import PATIENCE, outcome, play
from broadcaster import Broadcast
from redis.asyncio import Redis


async def main(url, name):
    broadcast = Broadcast(url)
    await broadcast.connect()
    client = Redis.from_url(url)
    found = {}
    async with broadcast.subscribe(name) as subscriber:
        await broadcast.publish(name, "before")
        assert (await subscriber.get()).message == "before"
        pipe = client.pipeline(transaction=True)  # in one step: nobody is back in between
        pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        pipe.publish(name, "nobody hears this")
        _, found["heard_by"] = await pipe.execute()

        async def go_on():
            for n in itertools.count():
                await broadcast.publish(name, f"later {n}")
                await asyncio.sleep(0.05)

        publishing = asyncio.create_task(go_on())
        try:
            event = await asyncio.wait_for(subscriber.get(), PATIENCE)
        except TimeoutError:
            found["reader"] = "hangs"
        except Exception as error:
            found["reader"] = type(error).__name__
        else:
            found["reader"] = "reads"
            found["told"] = getattr(event, "gap", None) is not None
        await asyncio.sleep(0.1)
        failed = publishing.exception() if publishing.done() else None
        found["publisher"] = type(failed).__name__ if failed else "succeeds"
        publishing.cancel()
    found["disconnect"] = await outcome(broadcast.disconnect())
    await client.aclose()
    return found


play(main)
