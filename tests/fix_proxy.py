"""A TCP proxy that cuts, refuses, delays and swallows, for tests of what a network does.

It runs in a thread with a loop of its own, so that it works alike beneath asyncio, trio and plain
tests. Every method returns when it took effect.

A black hole is a network that lost its way: connections stay open, nothing passes, not even the
end of a connection, and what was sent meanwhile arrives after it healed, as TCP sends it again.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import pytest

from compose.lifecycle import Broker
from compose.native.process import free_ports

T = TypeVar("T")
Direction = Literal["to_server", "to_client"]

_TIMEOUT = 10.0
_CHUNK = 65_536


@dataclass(frozen=True)
class ProxyStatistics:
    """What passed so far. The counts never go down, except for `open_connections`."""

    connections: int = 0
    open_connections: int = 0
    cut_connections: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0


class _Link:
    """One connection: the sockets it has so far, and the task that serves it."""

    def __init__(self, to_client: asyncio.StreamWriter) -> None:
        self.writers = [to_client]
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        for writer in self.writers:
            _reset(writer)

    def cut(self) -> None:
        self.reset()
        if self.task is not None:
            self.task.cancel()


class Proxy:
    """A proxy on a loopback port before `target_port`. Starts at once; a context manager.

    Args:
        target_port: where it forwards to; a server need not listen there yet.
        listen_port: where it listens, any free port by default.
        target_url: the server's URL, of which `url` is the same through the proxy.

    """

    def __init__(
        self, target_port: int, *, listen_port: int = 0, target_url: str | None = None
    ) -> None:
        self.port = listen_port or free_ports(1)[0]
        self.url = _through(target_url or "tcp://127.0.0.1", self.port)
        self._target_port = target_port
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._delay = 0.0
        self._allowance: dict[Direction, int] = {}
        self._changed = threading.Condition()
        self._statistics = ProxyStatistics()
        self._loop = asyncio.new_event_loop()
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.accept()

    def statistics(self) -> ProxyStatistics:
        """Return the counts as they are now."""
        with self._changed:
            return self._statistics

    def wait_until(
        self, is_true: Callable[[ProxyStatistics], bool], timeout: float = _TIMEOUT
    ) -> ProxyStatistics:
        """Wait until `is_true` of the counts and return them; `TimeoutError` after `timeout`."""
        with self._changed:
            if not self._changed.wait_for(lambda: is_true(self._statistics), timeout):
                raise TimeoutError(f"not within {timeout} s: {self._statistics}")
            return self._statistics

    def cut(self) -> None:
        """Reset all present connections, towards both sides."""
        self._call(self._cut)

    def refuse(self) -> None:
        """Refuse new connections; the present ones go on."""
        self._call(self._stop_listening)

    def accept(self) -> None:
        """Take new connections again, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_TIMEOUT)

    def black_hole(self) -> None:
        """Keep all connections open, take new ones, and pass nothing."""
        self._call(self._is_flowing.clear)

    def heal(self) -> None:
        """Pass everything again, first what was held back."""
        self._call(self._is_flowing.set)

    def delay(self, seconds: float) -> None:
        """Hold each piece of up to 64 KiB for `seconds` in each direction; 0 ends it."""

        def set_delay() -> None:
            self._delay = seconds

        self._call(set_delay)

    def cut_after_bytes(self, count: int, direction: Direction) -> None:
        """Pass `count` more bytes in `direction`, all connections together, then `cut()` once."""

        def set_allowance() -> None:
            self._allowance[direction] = count

        self._call(set_allowance)

    def close(self) -> None:
        """Reset all connections, stop listening, end the thread. A no-op the second time."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Proxy {self.port} -> {self._target_port} {self.statistics()}>"

    def _call(self, change: Callable[[], T]) -> T:
        async def in_loop() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(in_loop(), self._loop).result(_TIMEOUT)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _cut(self) -> None:
        self._count(cut_connections=len(self._links))
        for link in self._links:
            link.cut()

    async def _finish(self) -> None:
        self._stop_listening()
        await asyncio.sleep(0)  # whoever was accepted just now is among the links by then
        while self._links:
            links = tuple(self._links)
            for link in links:
                link.cut()
            tasks = [link.task for link in links if link.task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (writer for link in links for writer in link.writers):
                writer.transport.abort()  # closed at once, also what could not be sent
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the transports' last calls: the loop stops after this

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: the one asyncio would make complains when it is cancelled.
        link = _Link(writer)
        self._links.add(link)
        self._count(connections=1, open_connections=1)
        link.task = self._loop.create_task(self._serve(reader, link))
        link.task.add_done_callback(lambda _: self._drop(link))

    def _drop(self, link: _Link) -> None:
        for writer in link.writers:
            writer.close()
        self._links.discard(link)
        self._count(open_connections=-1)

    async def _serve(self, from_client: asyncio.StreamReader, link: _Link) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            link.writers.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(from_client, to_server, "to_server"))
                both.create_task(self._pass_on(from_server, link.writers[0], "to_client"))
        except* OSError:
            # One side is gone without an end, or was never there: tell the other the same way.
            link.reset()

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction
    ) -> None:
        # Without a buffer of ours, drained means: the kernel has it, so a reset comes after it.
        sink.transport.set_write_buffer_limits(high=0)
        while piece := await source.read(_CHUNK):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._is_flowing.wait()
            left = self._allowance.get(direction)
            piece = piece[:left]
            sink.write(piece)
            await sink.drain()
            self._passed(len(piece), direction)
            if left is not None:
                self._spend(left - len(piece), direction)
        await self._is_flowing.wait()
        if not sink.transport.is_closing():
            sink.write_eof()

    def _spend(self, left: int, direction: Direction) -> None:
        if left > 0:
            self._allowance[direction] = left
        else:
            del self._allowance[direction]
            self._cut()

    def _passed(self, count: int, direction: Direction) -> None:
        if direction == "to_server":
            self._count(bytes_to_server=count)
        else:
            self._count(bytes_to_client=count)

    def _count(self, **more: int) -> None:
        with self._changed:
            now = self._statistics
            self._statistics = replace(now, **{k: getattr(now, k) + n for k, n in more.items()})
            self._changed.notify_all()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST, as a crashed peer or a firewall does, instead of a polite FIN."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()


class Proxies(Protocol):
    """Makes proxies for one test."""

    def __call__(self, target: Broker | int) -> Proxy:
        """Return a proxy before a broker, or before a loopback port."""
        ...


@pytest.fixture
def proxy() -> Iterator[Proxies]:
    """A factory of proxies, closed at the end of the test."""
    made: list[Proxy] = []

    def make(target: Broker | int) -> Proxy:
        if isinstance(target, Broker):
            route = target.route
            one = Proxy(route.target, listen_port=route.listen, target_url=target.url)
        else:
            one = Proxy(target)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
