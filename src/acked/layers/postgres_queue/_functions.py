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
_LEASES: Final = ("bigint[]", "bigint[]", "bigint[]")
_LOOK: Final = (
    "SELECT grp, seq, rank, attempt, failures, alone, published, id, key, headers, content_type, "
    "body, expires <= due - $3 AS is_expired, due, waits FROM @schema.look($1, $2, $3, $4, $5, $6)"
)
_IN_NEED: Final = (
    "SELECT @schema.groups_with_free($1::bigint[], 0, 9223372036854775807, 2147483647) "
    "|| @schema.groups_overdue($1, @schema.moment(), 2147483647) "
    "|| ARRAY(SELECT unnest($1) EXCEPT SELECT id FROM @schema.grp WHERE name IS NOT NULL)"
)


class QueueFunctions:
    """The functions of the queue in `schema`, a name as SQL has it."""

    def __init__(self, schema: str) -> None:
        self.publish: Final = StoredFunction(f"{schema}.publish", (*_RECORDS, "boolean", *_PLACING))
        many = "ARRAY[cardinality($2::text[])]"
        self.publish_alike: Final = (
            f"SELECT {schema}.publish(array_fill($1::text, {many}), $2, null, null, "
            f"array_fill($3::text, {many}), array_fill($4::double precision, {many}), $5, false)"
        )
        """Of one topic, kind and time: each array costs both sides as much as the bodies' own."""
        self.publish_once: Final = StoredFunction(
            f"{schema}.publish_once", ("text", "double precision", "boolean", *_RECORDS)
        )
        self.settle: Final = StoredFunction(
            f"{schema}.settle",
            (*_LEASES, "double precision[]", "integer[]", *_RECORDS, "boolean"),
        )
        self.look: Final = _LOOK.replace("@schema", schema)
        self.look_in_order: Final = self.look.replace(".look(", ".look_in_order(")
        self.in_need: Final = _IN_NEED.replace("@schema", schema)
        """Of which groups something is free or due, and which are gone."""
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
