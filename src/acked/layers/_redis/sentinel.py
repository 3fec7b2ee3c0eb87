"""What `Connection` is for one server, for a master that sentinels watch: they say which one it is.

They are asked when there is no master known, when a connection is opened to stay (a failover may
have been meanwhile), and after a connection was lost or a master was demoted. The user and the
password of the URL are the master's; sentinels are asked without.
"""

from collections.abc import Iterable, Sequence
from typing import Final, cast

from redis.asyncio import Redis

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.connection import Command, CommandRunner, Connection
from acked.layers._redis.errors import lost
from acked.layers._redis.urls import RedisUrl

__all__ = ("Sentinels",)


class Sentinels(CommandRunner):
    """The master that is called `name` by the sentinel at `url` and those that it knows."""

    def __init__(self, url: RedisUrl, name: str, *, timeout: float, connections: int) -> None:
        self.where: Final = f"{name!r} of the sentinel at {url.where}"
        self._url = url
        self._name = name.encode()
        self._timeout = timeout
        self._connections = connections
        self._sentinels: dict[str, Connection] = {url.where: self._sentinel(url.where)}
        self._servers: dict[str, Connection] = {}
        self._master: Connection | None = None

    @property
    def client(self) -> Redis:
        """The client of the master, as it is known at the moment."""
        if self._master is None:
            raise self.lost("no master is known")
        return self._master.client

    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """Do what `Connection.exchange` does, with the master."""
        master = self._master or await self.home(None)
        try:
            replies = await master.exchange(commands)
        except ConnectionLost:
            self._master = None
            raise
        if any(isinstance(reply, ConnectionLost) for reply in replies):
            self._master = None  # so that the next one finds who took over
        return replies

    async def home(self, key: bytes | None) -> Connection:
        """Return the master, which has `key` whatever it is; it asks who that is."""
        del key
        failure: LayerError | None = None
        for sentinel in list(self._sentinels.values()):
            try:
                self._master = await self._told_by(sentinel)
            except LayerError as error:
                failure = failure or error
            else:
                return self._master
        if self._master is not None and isinstance(failure, ConnectionLost):
            return self._master  # nobody says otherwise
        raise failure or self.lost("there is no sentinel")

    def together(self, topics: Iterable[str]) -> Sequence[Sequence[str]]:
        """Return `topics` by what one read can wait for: all at once."""
        return [list(topics)]

    async def servers(self) -> Sequence[Connection]:
        """Return the master."""
        return [await self.home(None)]

    def lost(self, why: object) -> ConnectionLost:
        """Return the error for a connection that broke or could not be made."""
        return lost(self.where, why)

    async def aclose(self) -> None:
        """Close every connection."""
        for one in (*self._servers.values(), *self._sentinels.values()):
            await one.aclose()

    async def _told_by(self, sentinel: Connection) -> Connection:
        """Return the master that `sentinel` knows, and note which other sentinels it knows."""
        ask = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._name)
        address, others = await sentinel.exchange([ask, (b"SENTINEL", b"SENTINELS", self._name)])
        if isinstance(address, LayerError):
            raise address
        if address is None:
            raise LayerError(f"the sentinel at {sentinel.where} knows no master {self.where}")
        for told in cast("list[list[bytes]]", others if isinstance(others, list) else []):
            known = dict(zip(told[::2], told[1::2], strict=False))
            where = _joined(known[b"ip"], known[b"port"])
            if where not in self._sentinels:
                self._sentinels[where] = self._sentinel(where)
        where = _joined(*cast("list[bytes]", address))
        if where not in self._servers:
            self._servers[where] = Connection(
                self._url.at(where), timeout=self._timeout, connections=self._connections
            )
        return self._servers[where]

    def _sentinel(self, where: str) -> Connection:
        return Connection(self._url.at(where, login=False), timeout=self._timeout, connections=1)


def _joined(host: bytes, port: bytes) -> str:
    name = host.decode()
    return f"[{name}]:{port.decode()}" if ":" in name else f"{name}:{port.decode()}"
