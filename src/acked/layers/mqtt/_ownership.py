"""Whether another consumer had the session meanwhile, which not every broker tells.

A session has one connection: whoever connects takes it from the one before, who would take it back
as if the connection had only been lost, for ever. MQTT 5 has a DISCONNECT for it, which Mosquitto
sends from 2.0.15 on and other brokers never, and which a broken connection swallows. So each
consumer leaves a mark in the session: one of sixteen subscriptions to topics that nobody publishes
to. A new consumer replaces the mark that it finds. One that comes back and finds another mark than
its own was succeeded, and has to go: the newer one stays. A broker that says of whatever is
unsubscribed from that it was there (HiveMQ) is believed to tell by its DISCONNECT.

Somebody may publish to the marks' topics all the same: the marks are of QoS 0, and what is not of a
topic that was subscribed to is no delivery (see `_receiver`).
"""

import random
from collections.abc import Sequence
from typing import Final

from acked.layers.mqtt._connection import MQTTConnection

__all__ = ("MARKS", "Ownership")

MARKS: Final = tuple(f"acked/seat/{number}" for number in range(16))


class Ownership:
    """Who consumes by a session: one consumer, over all its connections."""

    def __init__(self) -> None:
        self._mark: str | None = None
        self._looked_by: MQTTConnection | None = None
        """Who has looked for marks."""

    async def take(
        self, connection: MQTTConnection, filters: Sequence[str], *, retained: int | None = None
    ) -> bool:
        """Subscribe to `filters`; raise `LayerError` where another consumer took the session.

        A broker that forbids the marks is believed: it has to tell by itself. False: there is no
        room for its answers yet; called again, this goes on where it was.
        """
        if self._looked_by is not connection:
            found = await connection.unsubscribe(MARKS) if connection.session_present else []
            if found is None:
                return False
            await self._judge(connection, found)
            self._looked_by = connection
        also = [] if self._mark is None else [self._mark]
        return await connection.subscribe(filters, also=also, retained=retained)

    async def _judge(self, connection: MQTTConnection, found: Sequence[str]) -> None:
        if self._mark is None:
            self._mark = random.choice([one for one in MARKS if one not in found] or MARKS)  # noqa: S311
        elif found and self._mark not in found:
            await connection.subscribe([], also=found)
            raise connection.taken_over()
