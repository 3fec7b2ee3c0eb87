"""Faults 26, 27, 28: the server ends the connection that listens."""

import asyncio
import itertools

import asyncpg
from _layers import make_layer
from _stage import PATIENCE, outcome, play
from redis.asyncio import Redis
from starlette_web.common.channels.base import Channel

END_THEM = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where pid <> pg_backend_pid() and query ilike 'listen%' and query like '%' || $1 || '%'"
)


async def end_connections(url, name):
    if url.startswith("redis"):
        client = Redis.from_url(url)
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await client.aclose()
    else:
        connection = await asyncpg.connect(url)
        await connection.execute("select 1")
        await connection.fetch(END_THEM, name)
        await connection.close()


async def read(subscriber):
    async for event in subscriber:
        return event
    return None


async def main(url, name):
    found = {}

    async def go_on(channel):
        for n in itertools.count():
            await channel.publish(name, f"later {n}")
            await asyncio.sleep(0.05)

    async def use():
        async with Channel(make_layer(url)) as channel:
            async with channel.subscribe(name) as subscriber:
                await end_connections(url, name)
                publishing = asyncio.create_task(go_on(channel))
                try:
                    event = await asyncio.wait_for(read(subscriber), PATIENCE)
                except TimeoutError:
                    found["reader"] = "hangs"
                except Exception as error:
                    found["reader"] = type(error).__name__
                else:
                    found["reader"] = "ends" if event is None else "reads"
                    found["told"] = getattr(event, "gap", None) is not None
                await asyncio.sleep(0.1)
                failed = publishing.exception() if publishing.done() else None
                found["publisher"] = type(failed).__name__ if failed else "succeeds"
                publishing.cancel()

            async def again():
                async with channel.subscribe(name) as subscriber:
                    await channel.publish(name, "again")
                    assert await read(subscriber) is not None

            found["next"] = await outcome(again(), PATIENCE)

    found["channel"] = await outcome(use(), 25)
    return found


play(main)
