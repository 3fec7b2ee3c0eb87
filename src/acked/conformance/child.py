"""A process of its own, to be killed.

```console
$ python -m acked.conformance.child MODE URL TOPIC GROUP N LEASE
```

MODE `hold`: receives N messages and holds them; `hold-in-order` does so in the order of keys.
`ack`: acks them all at once, and kills itself with SIGKILL on the line after. `publish`: publishes
0 to N-1, and kills itself on the line after.
"""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

import anyio
from anyio.abc import Process

from acked import Channel
from acked.abc import AckLayer

__all__ = ("Mode", "child")

Mode: TypeAlias = Literal["hold", "hold-in-order", "ack", "publish"]

READY: Final = b"ready"
START_TIMEOUT: Final = 30.0


@asynccontextmanager
async def child(
    mode: Mode, url: str, topic: str, group: str, count: int, *, lease: float
) -> AsyncGenerator[Process]:
    """Start a process in `mode`; entered when it did its part, killed at the latest on leaving."""
    command = [sys.executable, "-m", "acked.conformance.child"]
    command += [mode, url, topic, group, str(count), str(lease)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    process = await anyio.open_process(command, stderr=None, env=environment)
    try:
        await _said(process, READY)
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def killed(process: Process) -> None:
    """Kill `process` with SIGKILL and return when it is gone."""
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def _said(process: Process, word: bytes) -> None:
    assert process.stdout is not None  # noqa: S101 - a pipe by default
    said = b""
    with anyio.fail_after(START_TIMEOUT):
        while word not in said:
            said += await process.stdout.receive()


async def _main(mode: str, url: str, topic: str, group: str, count: int, lease: float) -> None:
    async with Channel.from_url(url) as channel:
        if mode == "publish":
            await channel.publish_many(topic, range(count))
            _tell_and_die()
        await _consume(channel, mode, topic, group, count, lease)


async def _consume(
    channel: Channel[AckLayer], mode: str, topic: str, group: str, count: int, lease: float
) -> None:
    subscription = channel.subscribe(
        topic,
        group=group,
        lease=lease,
        in_flight=count,
        ordered_by="key" if mode == "hold-in-order" else None,
    )
    async with subscription:
        held = [await anext(subscription) for _ in range(count)]
        if mode == "ack":
            async with anyio.create_task_group() as tasks:
                for delivery in held:
                    tasks.start_soon(delivery.ack)
            _tell_and_die()
        os.write(1, READY)
        await anyio.sleep_forever()


def _tell_and_die() -> None:
    os.write(1, READY)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _mode, _url, _topic, _group, _count, _lease = sys.argv[1:]
    anyio.run(_main, _mode, _url, _topic, _group, int(_count), float(_lease))
