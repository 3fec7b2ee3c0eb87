"""Whether another consumer had the session meanwhile, which not every broker tells.

A session has one connection: whoever connects takes it from the one before, who would take it back
as if the connection had only been lost, for ever. MQTT 5 has a DISCONNECT for it, which Mosquitto
sends from 2.0.15 on and other brokers never, and which a broken connection swallows. So each
consumer leaves a mark in the session: one of sixteen subscriptions to topics that nobody publishes
to. A new consumer replaces the mark that it finds. One that comes back and finds another mark than
its own was succeeded, and has to go: the newer one stays.
"""

import random
from collections.abc import Sequence
from typing import Final

from acked.layers.mqtt._connection import MQTTConnection

__all__ = ("MARKS", "Ownership")

MARKS: Final = tuple(f"acked/seat/{number}" for number in range(16))


class Ownership:
    """The place of one consumer in its session, over all its connections."""

    def __init__(self) -> None:
        self._mark: str | None = None

    async def take(self, link: MQTTConnection, filters: Sequence[str]) -> None:
        """Subscribe to `filters` on `link`; raise `LayerError` where another took the session.

        A broker that forbids the marks is believed: it has to tell by itself.
        """
        found = await link.unsubscribe(MARKS) if link.session_present else []
        if self._mark is None:
            self._mark = random.choice([mark for mark in MARKS if mark not in found])  # noqa: S311
        elif found and self._mark not in found:
            await link.subscribe([], also=found)
            raise link.taken_over()
        await link.subscribe(filters, also=[self._mark])
