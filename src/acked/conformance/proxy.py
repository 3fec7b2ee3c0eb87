"""A TCP proxy that cuts, refuses, delays and swallows, for tests of what a network does.

It runs in a thread with a loop of its own, so that it works alike beneath asyncio, trio and plain
tests. Every method returns when it took effect.

A black hole is a network that lost its way: connections stay open, nothing passes, not even the
end of a connection, and what was sent meanwhile arrives after it healed, as TCP sends it again.

It works on plain sockets: asyncio's streams and servers know a connection some turns of the loop
after it was accepted, and let go of it some turns after it was closed; a loop that stops between
leaves it to the garbage collector, which complains of it in the middle of a later test.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from acked.conformance.harness import Direction

__all__ = ("Proxy", "ProxyStatistics")

T = TypeVar("T")

_TIMEOUT: Final = 10.0
_CHUNK: Final = 65_536


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

    def __init__(self, to_client: socket.socket) -> None:
        self.sockets = [to_client]
        self.task: asyncio.Task[None] | None = None
        self.is_reset = False

    def cut(self) -> None:
        """End the task; what ends it closes the sockets."""
        self.is_reset = True
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        for each in self.sockets:
            if self.is_reset:  # as a crashed peer or a firewall does, instead of a polite FIN
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()


class Proxy:
    """A proxy on a loopback port before a server. Starts at once; a context manager.

    Args:
        target_port: where it forwards to; a server need not listen there yet.
        target_host: the host that it forwards to.
        listen_port: where it listens, any free port by default; `port` says which.
        target_url: the server's URL, of which `url` is the same through the proxy.

    """

    def __init__(
        self,
        target_port: int,
        *,
        target_host: str = "127.0.0.1",
        listen_port: int = 0,
        target_url: str | None = None,
    ) -> None:
        self.port: int = listen_port
        self._target = (target_host, target_port)
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
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
        self.url: str = _through(target_url or "tcp://127.0.0.1", self.port)

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
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(_TIMEOUT)

    def refuse(self) -> None:
        """Refuse new connections; the present ones go on."""
        self._call(self._stop_listening)

    def accept(self) -> None:
        """Take new connections again, on the same port."""
        self._call(self._listen)

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
        self.refuse()
        self.cut()
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
        return f"<Proxy {self.port} -> {self._target[0]}:{self._target[1]} {self.statistics()}>"

    def _call(self, change: Callable[[], T]) -> T:
        async def in_loop() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(in_loop(), self._loop).result(_TIMEOUT)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = listener = socket.create_server(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            listener.settimeout(0)
            self._loop.add_reader(listener, self._take, listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(listener)
            listener.close()

    def _cut(self) -> list[asyncio.Task[None]]:
        self._count(cut_connections=len(self._links))
        for link in self._links:
            link.cut()
        return [link.task for link in self._links if link.task is not None]

    async def _cut_all(self) -> None:
        await asyncio.gather(*self._cut(), return_exceptions=True)

    def _take(self, listener: socket.socket) -> None:
        try:
            to_client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it left again before we came
        link = _Link(_prepared(to_client))
        self._links.add(link)
        self._count(connections=1, open_connections=1)
        link.task = self._loop.create_task(self._serve(link))
        link.task.add_done_callback(lambda _: self._drop(link))

    def _drop(self, link: _Link) -> None:
        link.close()
        self._links.discard(link)
        self._count(open_connections=-1)

    async def _serve(self, link: _Link) -> None:
        to_client, to_server = link.sockets[0], _prepared(socket.socket())
        link.sockets.append(to_server)
        try:
            await self._loop.sock_connect(to_server, self._target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(to_client, to_server, "to_server"))
                both.create_task(self._pass_on(to_server, to_client, "to_client"))
        except* OSError:
            # One side is gone without an end, or was never there: tell the other the same way.
            link.is_reset = True

    async def _pass_on(
        self, source: socket.socket, sink: socket.socket, direction: Direction
    ) -> None:
        while piece := await self._loop.sock_recv(source, _CHUNK):
            await asyncio.sleep(self._delay)
            await self._is_flowing.wait()
            left = self._allowance.get(direction)
            piece = piece[:left]
            await self._loop.sock_sendall(sink, piece)
            self._passed(len(piece), direction)
            if left is not None:
                await self._spend(left - len(piece), direction)
        await self._is_flowing.wait()
        sink.shutdown(socket.SHUT_WR)

    async def _spend(self, left: int, direction: Direction) -> None:
        if left > 0:
            self._allowance[direction] = left
            return
        del self._allowance[direction]
        self._cut()
        await self._loop.create_future()  # we are cut, too, and pass nothing more

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


def _prepared(sock: socket.socket) -> socket.socket:
    sock.settimeout(0)  # which is: do not block
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()
