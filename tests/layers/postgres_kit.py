"""What the tests of LISTEN and NOTIFY share."""

import asyncio
import itertools
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import anyio
import asyncpg
import psutil

from acked import (
    Channel,
    Gap,
    GapCause,
    PublishFailed,
    Topic,
)
from acked.codecs import RAW
from acked.layers.postgres_notify import PostgresNotifyLayer
from acked.types import Record

RECONNECT = frozenset({GapCause.RECONNECT})
_numbers = itertools.count()


def fresh(word: str = "topic") -> str:
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def raw(name: str) -> Topic[bytes]:
    return Topic(name, bytes, codec=RAW)


def record(topic: str, body: bytes = b"1", **others) -> Record:
    return Record(topic, body, str(uuid4()), content_type="application/json", **others)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until(is_true: Callable[[], bool]) -> None:
    """Return when `is_true`; the test's own timeout bounds it."""
    while not is_true():
        await anyio.sleep(0.01)


async def published_until_gap(channel: Channel, topic: str, subscription) -> Gap:
    """Publish until a message comes behind a gap; return the gap."""
    gaps: list[Gap] = []

    async def read() -> None:
        async for message in subscription:
            if message.gap is not None:
                gaps.append(message.gap)
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not gaps:
            with suppress(PublishFailed):
                await channel.publish(topic, "still there?")
            await anyio.sleep(0.02)
    return gaps[0]


def is_listening(layer: PostgresNotifyLayer) -> bool:
    return layer._listening is not None and layer._listening._live is not None


def sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


def acked_tasks() -> set[asyncio.Task]:
    return {one for one in asyncio.all_tasks() if one.get_name().startswith("acked")}


def assert_one_line_without_secrets(error: Exception) -> None:
    assert "\n" not in str(error)
    assert "secret" not in str(error)
    assert "me:" not in str(error)


class TransactionPooler:
    """Lets all clients share one session of the server, a transaction at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        login = b"user\0acked\0database\0postgres\0\0"
        self._writer.write(struct.pack("!ii", 8 + len(login), 196608) + login)
        self._greeting = await self._answer(b"Z")
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"postgresql://acked@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
        finally:
            server.close()
            self._writer.close()
            await self._writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            if size == 8:  # TLS?
                await reader.readexactly(4)
                writer.write(b"N")
                (size,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(size - 4)
            writer.write(self._greeting)
            while True:
                asked = await self._message(reader)
                if asked[:1] == b"X":
                    break
                async with self._turn:
                    while True:
                        self._writer.write(asked)
                        if asked[:1] == b"H":  # flush: the answer to a prepare
                            writer.write(await self._answer(b"TnE"))
                        elif asked[:1] in b"QS":
                            writer.write(await self._answer(b"Z"))
                            break
                        asked = await self._message(reader)
        writer.close()

    async def _answer(self, last: bytes) -> bytes:
        answer = [await self._message(self._reader)]
        while answer[-1][:1] not in last:
            answer.append(await self._message(self._reader))
        return b"".join(answer)

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(5)
        return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
