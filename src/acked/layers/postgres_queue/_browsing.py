"""What a topic keeps for its groups, looked at without a lease, and removed row by row."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from acked.layers.postgres_queue._records import record_from
from acked.layers.postgres_queue._store import QueueStore
from acked.types import KeptRecord

__all__ = ("QueueBrowser",)

PAGE: Final = 500
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page ends after so many bytes of bodies: large ones need not fit into memory together."""

OF_TOPIC: Final = "(SELECT id FROM @schema.grp WHERE topic = $1 AND name IS NOT NULL)"

LAST: Final = f"""
    SELECT coalesce(max(last.seq), 0) FROM {OF_TOPIC} AS g, LATERAL (
        SELECT m.seq FROM @schema.message AS m WHERE m.grp = g.id ORDER BY m.seq DESC LIMIT 1
    ) AS last"""  # noqa: S608 - constants

KEPT: Final = f"""
    SELECT * FROM (
        SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
        FROM (
            SELECT DISTINCT ON (m.seq) m.*, EXISTS (
                SELECT FROM {OF_TOPIC} AS o, LATERAL (
                    SELECT h.lease, h.due FROM @schema.message AS h
                    WHERE h.grp = o.id AND h.seq = m.seq OFFSET 0
                ) AS h WHERE h.lease <> 0 AND h.due > @schema.moment()
            ) AS held
            FROM {OF_TOPIC} AS g, LATERAL (
                SELECT * FROM @schema.message AS m
                WHERE m.grp = g.id AND m.seq > $2 AND m.seq <= $3
                ORDER BY m.seq LIMIT $4
            ) AS m ORDER BY m.seq LIMIT $4
        ) AS page
    ) AS sized WHERE before < $5 ORDER BY seq"""  # noqa: S608 - constants


class QueueBrowser:
    """Shows and removes what the topics of a queue keep; `schema` is a name as SQL has it."""

    def __init__(self, store: QueueStore, schema: str) -> None:
        self._store = store
        self._last, self._kept = (
            statement.replace("@schema", schema) for statement in (LAST, KEPT)
        )

    async def browse(self, topic: str) -> AsyncGenerator[Sequence[KeptRecord], None]:
        """Show what some group of `topic` owes by now, in pages."""
        last = await self._store.value(self._last, topic)
        after = 0
        while page := await self._store.rows(self._kept, topic, after, last, PAGE, PAGE_BYTES):
            after = page[-1]["seq"]
            yield [
                KeptRecord(record_from(row, topic), str(row["seq"]), row["held"]) for row in page
            ]

    async def remove(self, topic: str, positions: Sequence[str]) -> Sequence[bool]:
        """Let no group of `topic` owe `positions`; False for what is held."""
        numbers = [int(position) for position in positions]
        left: list[int] = await self._store.value(self._store.functions.remove, topic, numbers)
        stays = frozenset(left)
        return [number not in stays for number in numbers]
