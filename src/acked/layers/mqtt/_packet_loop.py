"""The task that moves the bytes of one client, on asyncio or trio.

Where the client is full, it reads no further until `go_on`: the broker then waits, by TCP.

It belongs to no task group of a caller, since connections are opened and closed by different tasks:
asyncio runs it as a task, trio as a system task. Only it reads. Whoever has something to send
writes what the socket takes at once, the task sends the rest.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from acked.errors import ConnectionLost, LayerError
from acked.layers.mqtt._client import MQTTClient

__all__ = ("PacketLoop",)

BURST: Final = 200
"""Packets read before others have a turn."""


class PacketLoop:
    """Reads, writes and keeps alive, from `start` to `stop`."""

    def __init__(
        self,
        client: MQTTClient,
        where: str,
        keepalive: int,
        on_end: Callable[[LayerError], None],
        on_full: Callable[[], None],
    ) -> None:
        self._client = client
        self._words = f"the connection to the MQTT broker at {where} "
        self._keepalive = keepalive
        self._on_end = on_end
        self._on_full = on_full
        self._admitted = anyio.Event()
        self._to_write = anyio.Event()
        self._has_room = anyio.Event()
        self._scope = anyio.CancelScope()
        self._ended: anyio.Event | None = None
        self._task: object = None

    def start(self) -> None:
        """Begin; the client has its socket."""
        self._ended = anyio.Event()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio.lowlevel  # noqa: PLC0415 - only where trio runs is it installed

            self._task = trio.lowlevel.spawn_system_task(self._run, self._ended)
        else:
            self._task = loop.create_task(self._run(self._ended))

    def admit(self) -> None:
        """Begin to keep the connection alive: the broker has accepted it."""
        self._admitted.set()

    def interrupt(self) -> None:
        """Let the task end."""
        self._scope.cancel()

    async def stop(self) -> None:
        """Return when the task has ended."""
        self._scope.cancel()
        if self._ended is not None:
            await self._ended.wait()

    def send_rest(self) -> None:
        """Let the task send what the socket did not take at once."""
        if self._client.want_write():
            self._to_write.set()

    def go_on(self) -> None:
        """Read on, if there is room."""
        self._has_room.set()

    async def _run(self, ended: anyio.Event) -> None:
        reason: LayerError = ConnectionLost(self._words + "was closed")
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    tasks.start_soon(self._keep_alive)
                    await self._read()
        except* (OSError, anyio.ClosedResourceError) as errors:
            reason.__cause__ = errors
        except* Exception as errors:  # noqa: BLE001 - whatever it is, it must not be a hang
            # Over what arrived, so it would come again over each new connection.
            reason = LayerError(self._words + f"failed: {type(errors.exceptions[0]).__name__}")
            reason.__cause__ = errors
        finally:
            self._on_end(reason)
            ended.set()

    async def _read(self) -> None:
        client = self._client
        while (sock := client.socket()) is not None:
            await anyio.wait_readable(sock)
            while client.read_packets(BURST):
                self.send_rest()
                await self._room()
            self.send_rest()

    async def _room(self) -> None:
        """Let others have a turn, and return when there is room for what comes."""
        await checkpoint()
        while self._client.is_full():
            self._has_room = anyio.Event()
            self._on_full()
            await self._has_room.wait()

    async def _write(self) -> None:
        client = self._client
        while True:
            await self._to_write.wait()
            self._to_write = anyio.Event()
            while client.want_write() and (sock := client.socket()) is not None:
                await anyio.wait_writable(sock)
                client.loop_write()

    async def _keep_alive(self) -> None:
        await self._admitted.wait()
        # The broker may have set another interval; zero of it would be never to notice a loss.
        interval = self._client.keepalive or self._keepalive
        while True:
            await anyio.sleep(interval / 4)
            self._client.keep_alive()
            self.send_rest()
