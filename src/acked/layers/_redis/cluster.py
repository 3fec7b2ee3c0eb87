"""What `Connection` is for one server, for a cluster: each command goes to its key's node.

A command that was answered with MOVED was not carried out: it goes to the right node at once. One
that was not answered is what it is with one server: unknown, and never repeated.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import anyio
from redis.asyncio import Redis

from acked.errors import ConnectionLost, LayerError
from acked.layers._redis.connection import Command, CommandRunner, Connection
from acked.layers._redis.errors import has_moved
from acked.layers._redis.nodes import Nodes, slot_of
from acked.layers._redis.urls import RedisUrl

__all__ = ("Cluster",)

TRIES: Final = 5
"""How often a command is sent to where it is said to belong, while the slots move."""
KEY_AT: Final = {
    b"XADD": 1,
    b"XREVRANGE": 1,
    b"XAUTOCLAIM": 1,
    b"SPUBLISH": 1,
    b"XINFO": 2,
    b"EVALSHA": 3,
    b"EVAL": 3,
}
"""Where the key of a command stands; what is not named here may be asked of any node.
(XREADGROUP with COUNT, without BLOCK, of one stream.)"""


class Cluster(CommandRunner):
    """The nodes of a cluster, each with a pool of `connections`."""

    def __init__(self, url: RedisUrl, *, timeout: float, connections: int) -> None:
        self._nodes: Final = Nodes(
            url,
            lambda node: Connection(node, timeout=timeout, connections=connections, is_node=True),
        )
        self.where: Final = self._nodes.first.where
        self.lost: Final = self._nodes.first.lost

    @property
    def client(self) -> Redis:
        """The client of the node that the URL names."""
        return self._nodes.first.client

    async def home(self, key: bytes | None) -> Connection:
        """Return the node that serves `key` now, or any for None; it asks who that is."""
        await self._nodes.look()
        return await (self._nodes.any() if key is None else self._nodes.serving(slot_of(key)))

    async def exchange(self, commands: Sequence[Command]) -> list[object]:
        """Do what `Connection.exchange` does, at several nodes at once; one key's keep order.

        Raises nothing: what could not be sent has that error for its reply.
        """
        replies: list[object] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for _ in range(TRIES):
            await self._send(commands, waiting, replies)
            waiting = [i for i in waiting if has_moved(replies[i])]
            if not waiting:
                break
            await self._look()
        if any(isinstance(reply, ConnectionLost) for reply in replies):
            await self._look()  # so that the next one finds who took over
        return replies

    def together(self, topics: Iterable[str]) -> Sequence[Sequence[str]]:
        """Return `topics` by what one read can wait for: those of one slot."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for topic in topics:
            found[slot_of(topic.encode())].append(topic)
        return list(found.values())

    async def servers(self) -> Sequence[Connection]:
        """Return every node that serves slots."""
        return await self._nodes.masters()

    async def aclose(self) -> None:
        """Close every connection of every pool."""
        await self._nodes.aclose()

    async def _send(
        self, commands: Sequence[Command], which: Sequence[int], replies: list[object]
    ) -> None:
        async def send(link: Connection, members: Sequence[int]) -> None:
            try:
                answers = await link.exchange([commands[i] for i in members])
            except LayerError as error:
                answers = [error] * len(members)
            for i, answer in zip(members, answers, strict=True):
                replies[i] = answer

        by_node: defaultdict[Connection, list[int]] = defaultdict(list)
        for i in which:
            try:
                by_node[await self._link_of(commands[i])].append(i)
            except LayerError as error:
                replies[i] = error
        async with anyio.create_task_group() as together:
            for link, members in by_node.items():
                together.start_soon(send, link, members)

    async def _link_of(self, command: Command) -> Connection:
        place = KEY_AT.get(command[0])
        if place is None:
            return await self._nodes.any()
        return await self._nodes.serving(slot_of(command[place]))

    async def _look(self) -> None:
        try:
            await self._nodes.look()
        except LayerError:
            return  # then the next command says what is the matter
