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
                SELECT FROM @schema.message AS h
                WHERE h.grp IN {OF_TOPIC} AND h.seq = m.seq
                AND h.lease <> 0 AND h.due > @schema.moment()
            ) AS held
            FROM {OF_TOPIC} AS g, LATERAL (
                SELECT * FROM @schema.message AS m
                WHERE m.grp = g.id AND m.seq > $2 AND m.seq <= $3
                ORDER BY m.seq LIMIT $4
            ) AS m ORDER BY m.seq LIMIT $4
        ) AS page
    ) AS sized WHERE before < $5 ORDER BY seq"""  # noqa: S608 - constants

REMOVE: Final = f"""
    WITH there AS MATERIALIZED (
        SELECT m.grp, m.seq FROM @schema.message AS m
        WHERE m.grp IN {OF_TOPIC} AND m.seq = ANY ($2)
    ), locked AS MATERIALIZED (
        SELECT m.grp, m.seq, m.lease <> 0 AND m.due > @schema.moment() AS held
        FROM @schema.message AS m
        WHERE m.grp IN {OF_TOPIC} AND m.seq = ANY ($2)
        FOR UPDATE SKIP LOCKED
    ), left_alone AS MATERIALIZED (
        SELECT DISTINCT t.seq FROM there AS t LEFT JOIN locked AS l USING (grp, seq)
        WHERE l.held IS DISTINCT FROM false
    ), gone AS (
        DELETE FROM @schema.message AS m USING locked AS l
        WHERE m.grp = l.grp AND m.seq = l.seq
        AND NOT EXISTS (SELECT FROM left_alone AS a WHERE a.seq = l.seq)
    )
    SELECT coalesce(array_agg(seq), '{{}}') FROM left_alone"""  # noqa: S608 - constants
"""Returns what is left: what is held, or what somebody else has locked at the moment."""


class QueueBrowser:
    """Shows and removes what the topics of a queue keep; `schema` is a name as SQL has it."""

    def __init__(self, store: QueueStore, schema: str) -> None:
        self._store = store
        self._last, self._kept, self._remove = (
            statement.replace("@schema", schema) for statement in (LAST, KEPT, REMOVE)
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
        left: list[int] = await self._store.value(self._remove, topic, numbers)
        return [number not in left for number in numbers]
