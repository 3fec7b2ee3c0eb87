"""Publishing: by PUBLISH to any node, or by SPUBLISH to the node that serves the topic's slot.

A command that was answered with MOVED was not carried out: it goes to the right node at once.
Nothing else is ever sent twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import anyio
from redis.exceptions import MovedError

from acked.errors import LayerError, MessageTooLarge, PublishFailed
from acked.layers._redis.nodes import Nodes, OneNode, slot_of
from acked.layers.redis_pubsub._envelope import packed
from acked.layers.redis_pubsub._server import Server
from acked.types import Record

__all__ = ("MAX_PAYLOAD", "RedisPublisher", "Servers")

MAX_PAYLOAD: Final = 512 * 1024 * 1024
"""Redis' limit of one string (`proto-max-bulk-len`)."""

TRIES: Final = 5
"""How often a command is sent to where it is said to belong, while the slots move."""

Servers: TypeAlias = Nodes[Server] | OneNode[Server]


class RedisPublisher:
    """What is published goes through here. Made and used within one event loop."""

    def __init__(self, servers: Servers, *, timeout: float, is_sharded: bool) -> None:
        self._servers = servers
        self._timeout = timeout
        self._is_sharded = is_sharded

    async def publish(self, records: Sequence[Record]) -> None:
        """Send `records`; return when the server has answered for each."""
        word = b"SPUBLISH" if self._is_sharded else b"PUBLISH"
        commands = [(word, record.topic.encode(), packed(record)) for record in records]
        large = {
            number: MessageTooLarge(record.topic, len(payload), MAX_PAYLOAD)
            for number, (record, (*_, payload)) in enumerate(zip(records, commands, strict=True))
            if len(payload) > MAX_PAYLOAD
        }
        if large:
            raise PublishFailed("too large with their headers", large, indeterminate=False)
        answers: list[Exception | None] = [None] * len(commands)
        waiting, unanswered = list(range(len(commands))), False
        for _ in range(TRIES):
            unanswered |= await self._send(commands, waiting, answers)
            waiting = [i for i in waiting if isinstance(answers[i], MovedError)]
            if not waiting:
                break
            with suppress(LayerError):
                await self._servers.look()
        failures = {i: error for i, error in enumerate(answers) if error is not None}
        if failures:
            first = next(iter(failures.values()))
            words = f"{len(failures)} of {len(commands)} were not published: {first}"
            raise PublishFailed(words, failures, indeterminate=unanswered) from first

    async def _send(
        self,
        commands: Sequence[tuple[bytes, ...]],
        which: Sequence[int],
        answers: list[Exception | None],
    ) -> bool:
        """Send some of `commands`; return whether any of them may have worked unanswered."""
        unanswered = False
        by_server: defaultdict[Server, list[int]] = defaultdict(list)
        for i in which:
            try:
                by_server[await self._server_of(commands[i][1])].append(i)
            except LayerError as error:
                answers[i] = error
        for server, members in by_server.items():
            unknown = server.lost("it broke before the answer")
            found: list[Exception | None] = [unknown] * len(members)
            unanswered |= await self._ask(server, [commands[i] for i in members], found)
            for i, answer in zip(members, found, strict=True):
                answers[i] = answer
        return unanswered

    async def _server_of(self, channel: bytes) -> Server:
        if self._is_sharded:
            return await self._servers.serving(slot_of(channel))
        return await self._servers.any()

    async def _ask(
        self,
        server: Server,
        commands: Sequence[tuple[bytes, ...]],
        answers: list[Exception | None],
    ) -> bool:
        unknown, is_sent = answers[0], False
        try:
            with server.translated():
                with anyio.fail_after(self._timeout):
                    async with server.connection() as connection:
                        is_sent = True
                        await server.ask(connection, commands, answers)
        except LayerError as error:
            answers[:] = [error if one is unknown else one for one in answers]
            with suppress(LayerError):
                await self._servers.look()  # so that the next one finds who took over
            return is_sent
        return False
