"""Faults 26, 27, 29: the server ends the session that listens."""

import asyncio
import itertools

import asyncpg
from _stage import PATIENCE, messages, outcome, play
from broadcaster import Broadcast

ENDING = """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where pid <> pg_backend_pid() and application_name = $1
"""


async def main(url, name):
    broadcast = Broadcast(f"{url}?application_name={name}")
    await broadcast.connect()
    admin = await asyncpg.connect(url)
    found = {}
    try:
        async with broadcast.subscribe(name) as subscriber:
            await broadcast.publish(name, "before")
            assert await messages(subscriber, 1) == ["before"]
            assert await admin.fetchval(ENDING, name) >= 1

            async def go_on():
                for n in itertools.count():
                    await admin.execute("select pg_notify($1, $2)", name, f"later {n}")
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
            publishing.cancel()
            await asyncio.wait([publishing])

            async def subscribe():
                async with broadcast.subscribe(f"{name}-another"):
                    pass

            found["subscribe"] = await outcome(subscribe())
    except Exception as error:
        found["leaving"] = type(error).__name__
    await admin.close()
    return found


play(main)
