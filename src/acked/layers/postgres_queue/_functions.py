"""The functions of a queue's schema."""

from typing import Final

from acked.layers._postgres.transactions import StoredFunction

__all__ = ("QueueFunctions",)

_RECORDS: Final = (
    "text[]",
    "text[]",
    "text[]",
    "text[]",
    "text[]",
    "double precision[]",
    "bytea[]",
)
_PLACING: Final = ("double precision[]", "double precision[]", "smallint[]")
_LOOK: Final = """
WITH claimed AS MATERIALIZED (SELECT * FROM @schema.claim($1, $2, $3, $4, $5, $6))
SELECT grp, seq, rank, attempt, failures, alone, published, id, key, headers, content_type, body,
    coalesce(expires <= due - $3, false) AS is_expired,
    null::bigint AS known, null::double precision AS due, null::boolean AS has_free
FROM claimed
UNION ALL
SELECT null, null, null, null, null, null, null, null, null, null, null, null, null, o.*
FROM @schema.outlook($1) AS o WHERE (SELECT count(*) FROM claimed) < $2"""
"""What a claim leases; and where there was room for more, a row that is no message: how many of the
groups there are still, in how many seconds something may be free, and whether something is."""
_LEASES: Final = ("bigint[]", "bigint[]", "bigint[]")


class QueueFunctions:
    """The functions of the queue in `schema`, a name as SQL has it."""

    def __init__(self, schema: str) -> None:
        self.publish: Final = StoredFunction(f"{schema}.publish", (*_RECORDS, "boolean", *_PLACING))
        self.publish_once: Final = StoredFunction(
            f"{schema}.publish_once", ("text", "double precision", "boolean", *_RECORDS)
        )
        self.settle: Final = StoredFunction(
            f"{schema}.settle",
            (*_LEASES, "double precision[]", "integer[]", *_RECORDS, "boolean"),
        )
        self.look: Final = _LOOK.replace("@schema", schema)
        self.look_in_order: Final = self.look.replace(".claim(", ".claim_in_order(")
        self.keep_lanes: Final = f"SELECT {schema}.keep_lanes($1)"
        self.extend: Final = f"SELECT {schema}.extend($1, $2, $3, $4)"
        self.nack_unless_committed: Final = f"SELECT {schema}.nack_unless_committed($1, $2, $3, $4)"
        self.release: Final = f"SELECT {schema}.release($1, $2, $3)"
        self.release_claims: Final = f"SELECT {schema}.release_claims($1, $2)"
        self.join: Final = f"SELECT {schema}.join_group($1, $2, $3, $4)"
        self.remove: Final = f"SELECT {schema}.remove($1, $2)"
        self.remove_group: Final = f"SELECT {schema}.remove_group($1, $2)"
        self.beat: Final = f"SELECT {schema}.beat($1, $2, $3)"
        self.sweep: Final = f"SELECT {schema}.sweep($1, $2, $3)"
        self.farewell: Final = f"DELETE FROM {schema}.consumer WHERE grp = ANY ($1) AND feed = $2"  # noqa: S608
        self.note_alone: Final = (
            f"UPDATE {schema}.message SET alone = alone - alone % 2 + $4 "  # noqa: S608
            "WHERE grp = $1 AND seq = $2 AND lease = $3 RETURNING true"
        )
        self.lag: Final = (
            f"SELECT count(*) FROM {schema}.message "  # noqa: S608
            f"WHERE grp = ANY ($1) AND (due <= {schema}.moment() OR due = 'Infinity') "
            "AND attempt = 0"
        )
