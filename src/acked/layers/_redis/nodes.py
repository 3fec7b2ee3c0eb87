"""Which node of a Redis Cluster serves which slot, and a client for each node.

Rules:

1. The map is asked for (CLUSTER SLOTS) when there is none, and again after `look`. Any node that
   answers knows it; those that are known are tried in turn, the one that the URL names last.
2. Nothing is followed silently: who is told MOVED, or loses a connection, looks and tries again.
3. Replicas are not used. A slot that is being moved (ASK) counts as one that does not answer yet.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar, cast

import anyio
from redis.crc import key_slot

from acked.errors import ConfigurationError, ConnectionLost
from acked.layers._redis.urls import RedisUrl

__all__ = ("Node", "Nodes", "slot_of")


class Node(Protocol):
    """What a client of one server must be able to do."""

    async def slots(self) -> object:
        """Return the reply to CLUSTER SLOTS; raise `LayerError`."""
        ...

    async def aclose(self) -> None:
        """Close every connection; raise nothing."""
        ...


N = TypeVar("N", bound=Node)


class Nodes(Generic[N]):
    """The nodes of the cluster that `url` names one of; `make` makes the client for a URL."""

    def __init__(self, url: RedisUrl, make: Callable[[RedisUrl], N]) -> None:
        if url.is_socket:
            raise ConfigurationError("a cluster is not reached by a socket's path: name a host")
        self.first: Final = make(url)
        self._url = url
        self._make = make
        self._made: dict[str, N] = {}
        self._ranges: list[tuple[int, int, str]] = []
        self._answers = self.first
        self._turn = anyio.Lock()

    async def any(self) -> N:
        """Return a node that answered a short while ago."""
        if not self._ranges:
            await self.look()
        return self._answers

    async def serving(self, slot: int) -> N:
        """Return the node that serves `slot`, as the map says."""
        if not self._ranges:
            await self.look()
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return self._node(address)
        raise ConnectionLost(f"no node of the Redis Cluster serves slot {slot} at the moment")

    async def masters(self) -> Sequence[N]:
        """Return every node that serves slots."""
        if not self._ranges:
            await self.look()
        return [self._node(address) for address in dict.fromkeys(one[2] for one in self._ranges)]

    async def look(self) -> None:
        """Ask for the map; raises `LayerError` if no node has one to give."""
        old = self._ranges
        async with self._turn:
            if self._ranges is not old:
                return  # somebody else has looked meanwhile
            failures: list[ConnectionLost] = []
            known = [self._node(address) for *_, address in old]
            for node in dict.fromkeys((self._answers, *known, self.first)):
                try:
                    self._ranges = _ranges(await node.slots(), self._url.host)
                except ConnectionLost as error:
                    failures.append(error)
                else:
                    self._answers = node
                    return
            raise failures[-1]

    async def aclose(self) -> None:
        """Close every node's connections."""
        for node in (*self._made.values(), self.first):
            await node.aclose()

    def _node(self, address: str) -> N:
        node = self._made.get(address)
        if node is None:
            node = self._made[address] = self._make(self._url.at(address))
        return node


def slot_of(key: bytes) -> int:
    """Return the slot of `key`: of the part in braces, where there is one."""
    return key_slot(key)


def _ranges(reply: object, own: str | None) -> list[tuple[int, int, str]]:
    """Return first slot, last slot and master of each range."""
    found: list[tuple[int, int, str]] = []
    for first, last, master, *_ in cast("list[tuple[int, int, list[object]]]", reply):
        host = cast("bytes | None", master[0])
        name = host.decode() if host else own or "localhost"
        literal = f"[{name}]" if ":" in name else name
        found.append((first, last, f"{literal}:{master[1]}"))
    return found
