"""Laws G: lifecycle."""

import asyncio
import random
import threading

import anyio
import psutil
import sniffio
import trio

from acked import Delivery
from tests.laws.acknowledgement import (
    LONG,
    SOON,
    ack_all,
    bodies,
    nothing_but_a_sentinel_comes,
    receive,
)
from tests.laws.harness import Harness, channel_of, fresh


def alive() -> dict[str, int]:
    """Count what a closed channel must not leave: tasks, sockets, threads that are not pooled."""
    process = psutil.Process()
    if sniffio.current_async_library() == "trio":
        tasks = trio.lowlevel.current_statistics().tasks_living
    else:
        tasks = len(asyncio.all_tasks())
    pooled = ("AnyIO worker thread", "Trio thread")
    threads = [t for t in threading.enumerate() if not t.name.startswith(pooled)]
    sockets = [c for c in process.net_connections() if c.status == psutil.CONN_ESTABLISHED]
    files = [f for f in process.open_files() if f.path.endswith((".db", ".db-wal", ".db-shm"))]
    return {
        "tasks": tasks,
        "threads": len(threads),
        "sockets": len(sockets),
        "files": len(files),
    }


class LifecycleLaws:
    """What opening, cancelling and closing leave behind."""

    async def test_a_closed_channel_leaves_no_task_socket_thread_or_file(
        self, harness: Harness
    ) -> None:
        """G4: after reading, after a break, after a cancellation."""
        topic, group = fresh("topic"), fresh("group")
        before = alive()
        for way in ("read", "break", "cancel"):
            with anyio.CancelScope() as scope:
                async with channel_of(harness) as channel:
                    await channel.publish_many(topic, range(5))
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        deliveries = await receive(sub, 5 if way == "read" else 2)
                        if way == "read":
                            await ack_all(deliveries)
                        if way == "cancel":
                            scope.cancel()
                            await anyio.sleep_forever()
        with anyio.fail_after(SOON):
            while alive() != before:  # a socket's closing is seen a moment later
                await anyio.sleep(0.01)

    async def test_cancelling_a_waiting_read_loses_nothing(self, harness: Harness) -> None:
        """G5: reads cancelled at moments of all kinds while messages arrive."""
        topic, group = fresh("topic"), fresh("group")
        moments = random.Random(5)
        got: list[Delivery[object]] = []
        async with channel_of(harness) as channel:
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:

                async def read() -> None:
                    while True:
                        got.append(await anext(sub))

                for number in range(30):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(read)
                        await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                        await channel.publish(topic, number)
                        await anyio.sleep(moments.choice([0, 0, 0.001, 0.003]))
                        tasks.cancel_scope.cancel()
                got += await receive(sub, 30 - len(got))
                assert bodies(got) == list(range(30))
                assert {delivery.attempt for delivery in got} == {1}
                await ack_all(got)

    async def test_cancelling_a_subscription_loses_nothing(self, harness: Harness) -> None:
        """G5: whole subscriptions cancelled at moments of all kinds: what was fetched comes again."""
        topic, group = fresh("topic"), fresh("group")
        moments = random.Random(7)
        acked: set[object] = set()
        async with channel_of(harness) as channel:
            await channel.publish_many(topic, range(200))
            for _ in range(15):
                with anyio.move_on_after(moments.uniform(0, 0.02)):
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        async for delivery in sub:
                            await delivery.ack()
                            acked.add(delivery.body)
            async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                await channel.publish(topic, "last")
                with anyio.fail_after(SOON):
                    async for delivery in sub:
                        await delivery.ack()
                        acked.add(delivery.body)
                        # Cancelled between the broker's yes and our note: at most one a round.
                        if sub.statistics().buffered == 0 and "last" in acked:
                            break
            assert 185 <= len(acked - {"last"}) <= 200
            await nothing_but_a_sentinel_comes(channel, topic, group)
