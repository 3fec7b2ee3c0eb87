"""What becomes of a publish: receipts, or the error that says which members failed."""

from collections.abc import Sequence

from acked.errors import LayerError, PublishFailed
from acked.layers.postgres_queue._records import can_be_kept, refusal_of
from acked.types import Receipt, Record

__all__ = ("not_published", "not_taken", "receipts_of", "taken_of")


def taken_of(records: Sequence[Record]) -> tuple[Sequence[Record], dict[int, Exception]]:
    """Return the records that PostgreSQL can have, and why it cannot have the others."""
    if can_be_kept(records):
        return records, {}
    refusals = [refusal_of(record) for record in records]
    failures: dict[int, Exception] = {
        place: refusal for place, refusal in enumerate(refusals) if refusal is not None
    }
    taken = [record for record, refusal in zip(records, refusals, strict=True) if refusal is None]
    return taken, failures


def receipts_of(records: Sequence[Record], numbers: Sequence[int]) -> Sequence[Receipt]:
    """Return a receipt for each record, its number in the table as the position."""
    pairs = zip(records, numbers, strict=True)
    return [Receipt(record.id, record.topic, str(number)) for record, number in pairs]


def not_taken(records: Sequence[Record], failures: dict[int, Exception]) -> PublishFailed:
    """Return the error for those that PostgreSQL cannot have."""
    return PublishFailed(
        f"{len(failures)} of {len(records)} records were not accepted: an id, a key, a header or a "
        "content type has characters that UTF-8 cannot carry",
        failures,
        indeterminate=False,
    )


def not_published(count: int, error: LayerError, *, indeterminate: bool) -> PublishFailed:
    """Return the error for all of `count` records; `indeterminate` where the answer never came."""
    known = "it is unknown whether they were accepted" if indeterminate else "none was accepted"
    return PublishFailed(
        f"{count} message(s) were not published, {known}: {error}",
        dict.fromkeys(range(count), error),
        indeterminate=indeterminate,
    )
