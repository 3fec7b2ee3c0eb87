"""The connection that one feed reads with, since a blocking read occupies it."""

from collections.abc import Awaitable, Callable, Sequence

from acked.layers._redis.connection import Command, Connection
from acked.layers._redis.scripts import ScriptCall, run_scripts
from acked.layers._redis.wire import RedisWire

__all__ = ("Reader",)


class Reader:
    """One connection at a time, to the server that is the right one when it is opened."""

    def __init__(self, home: Callable[[], Awaitable[Connection]]) -> None:
        """Make a reader of the server that `home` returns when it is opened."""
        self._home = home
        self._link: Connection | None = None
        self._connection: RedisWire | None = None
        self._name: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether there is a connection; it may be a broken one that nobody has used yet."""
        return self._connection is not None

    async def open(self) -> RedisWire:
        """Connect; after that nothing is delivered to the connection that was open before."""
        link = await self._home()
        if link is not self._link:
            self._link, self._name = link, []  # the old name is another server's
        wire, replies = await link.opened([*self._farewell(), (b"CLIENT", b"INFO")])
        self._connection, self._name = wire, _client_name(replies[-1])
        return wire

    async def exchange(self, commands: Sequence[Command], wait: float = 0.0) -> list[object]:
        """Send `commands`, of which the server may block one for `wait` seconds.

        Raises `ConnectionLost`. If anything but the replies ends it, the connection is closed.
        Where it is not open, for a reply has ended it, it is opened.
        """
        wire = self._connection or await self.open()
        assert self._link is not None  # noqa: S101 - it was opened
        try:
            replies = await self._link.talk_alone(wire, commands, wait)
        except BaseException:
            self._connection = None
            raise
        if not wire.is_open:
            await self.close()
        return replies

    async def run(self, calls: Sequence[ScriptCall]) -> list[object]:
        """Run scripts as `exchange` does commands."""
        return await run_scripts(self.exchange, calls)

    async def leave(self) -> None:
        """Close the connection, and let the server forget what it was waiting for."""
        await self.close()
        farewell = self._farewell()
        if farewell and self._link is not None:
            await self._link.exchange(farewell)

    async def close(self) -> None:
        """Close the connection at once, without waiting for anybody. A no-op the second time."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    def _farewell(self) -> list[Command]:
        """Return the command that ends our last connection at the server, if there was one.

        Race: the server may not have noticed yet that we closed a connection with a blocked read.
        An entry that it delivers there would belong to us, and be seen by nobody until its lease
        ends. Both id and address are given, since ids begin anew when the server does.
        """
        return [(b"CLIENT", b"KILL", *self._name)] if self._name else []


def _client_name(info: object) -> list[bytes]:
    """Return the filters of CLIENT KILL for the client that CLIENT INFO told of."""
    if not isinstance(info, bytes):
        return []  # not allowed to us
    told: dict[bytes, bytes] = {}
    for part in info.split():
        name, _, value = part.partition(b"=")
        told[name] = value
    return [b"ID", told[b"id"], b"ADDR", told[b"addr"]]
