"""The statements: one that publishes a batch, those that listen, and what is raised."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from acked.errors import LayerError, PublishFailed
from acked.layers.postgres_notify._envelope import check_names, pack
from acked.types import Record

__all__ = ("listen_statements", "not_published", "pages", "statement")

PAGE: Final = 500
"""How many names one request asks for."""

ONE: Final = "select pg_notify($1, $2)"
# No row comes back: pg_notify returns void, which is not null.
MANY: Final = "select from unnest($2::text[]) as one where pg_notify($1, one) is null"
MIXED: Final = (
    "select from unnest($1::text[], $2::text[]) as _ (topic, one) "
    "where pg_notify(topic, one) is null"
)


def statement(
    records: Sequence[Record], pack: Callable[[Record], str] = pack
) -> tuple[str, tuple[object, ...]]:
    """Return the one statement that publishes `records` in their order, and its arguments."""
    topics = frozenset(record.topic for record in records)
    check_names(topics)
    payloads = [pack(record) for record in records]
    if len(payloads) == 1:
        return ONE, (records[0].topic, payloads[0])
    if len(topics) == 1:
        return MANY, (records[0].topic, payloads)
    return MIXED, ([record.topic for record in records], payloads)


def not_published(
    records: Sequence[Record], error: LayerError, *, indeterminate: bool
) -> PublishFailed:
    """Return the error for all of `records`; `indeterminate` where the answer never came."""
    known = "it is unknown whether they were accepted" if indeterminate else "none was accepted"
    return PublishFailed(
        f"{len(records)} message(s) were not published, {known}: {error}",
        dict.fromkeys(range(len(records)), error),
        indeterminate=indeterminate,
    )


def pages(names: Sequence[str]) -> Iterable[Sequence[str]]:
    """Return `names` in pages of what one statement may ask for."""
    return (names[start : start + PAGE] for start in range(0, len(names), PAGE))


def listen_statements(word: str, names: Iterable[str]) -> str:
    """Return one statement for each name, for one request."""
    quoted = (one.replace('"', '""') for one in names)
    return ";".join(f'{word} "{one}"' for one in quoted)
