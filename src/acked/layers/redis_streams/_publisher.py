"""Publishing: entries are appended, in requests of a bounded size, and none is sent twice."""

from collections.abc import Sequence
from typing import Final, cast

from acked.errors import LayerError, PublishFailed
from acked.layers._redis.client import Client
from acked.layers._redis.connection import Command
from acked.layers._redis.errors import is_unanswered
from acked.layers._redis.scripts import ScriptCall
from acked.layers.redis_streams._keys import schedule_key
from acked.layers.redis_streams._records import fields_of
from acked.layers.redis_streams._scripts import PUBLISH_ONCE
from acked.types import Receipt, Record

__all__ = ("publish", "publish_once", "send")

RECORDS_IN_A_REQUEST: Final = 1000
"""A larger publish is several requests, one after the other: each has a deadline of its own."""


async def publish(way: Client, records: Sequence[Record], trim: Command) -> Sequence[Receipt]:
    """Append `records`, each with the words of `trim`; raises `PublishFailed`."""
    commands = [
        (b"XADD", record.topic.encode(), *trim, b"*", *fields_of(record)) for record in records
    ]
    replies, indeterminate = await send(way, commands)
    receipts: dict[int, Receipt] = {}
    failures: dict[int, Exception] = {}
    for i, (record, reply) in enumerate(zip(records, replies, strict=True)):
        if isinstance(reply, bytes):
            receipts[i] = Receipt(record.id, record.topic, reply.decode())
        else:
            failures[i] = _failure(reply)
    if failures:
        raise _publish_failed(failures, receipts, indeterminate=indeterminate)
    return [*receipts.values()]


async def publish_once(
    way: Client, record: Record, trim: Command, schedule: str, moment: float, *, begins: bool
) -> float | None:
    """Append `record` unless it was done for `moment`; see `acked.abc.PublishesOnce`."""
    keys = (record.topic.encode(), schedule_key(record.topic, schedule))
    words = (repr(moment).encode(), b"%d" % begins, *trim, b"*", *fields_of(record))
    try:
        (reply,) = await way.run([ScriptCall(PUBLISH_ONCE, keys, words)])
    except LayerError as error:
        raise _publish_failed({0: error}, {}, indeterminate=False) from error
    if isinstance(reply, LayerError):
        raise _publish_failed({0: reply}, {}, indeterminate=is_unanswered(reply)) from reply
    return None if reply is None else float(cast("bytes", reply))


async def send(way: Client, commands: Sequence[Command]) -> tuple[list[object], bool]:
    """Return a reply for each command, and whether any may have worked without an answer.

    After a lost connection nothing more is sent: what comes later must not overtake.
    """
    replies: list[object] = []
    for start in range(0, len(commands), RECORDS_IN_A_REQUEST):
        try:
            replies += await way.exchange(commands[start : start + RECORDS_IN_A_REQUEST])
        except LayerError as error:
            return [*replies, *[error] * (len(commands) - start)], False
        lost = next((reply for reply in replies[start:] if is_unanswered(reply)), None)
        if lost is not None:
            return [*replies, *[lost] * (len(commands) - len(replies))], True
    return replies, False


def _failure(reply: object) -> Exception:
    return reply if isinstance(reply, LayerError) else LayerError("XADD was not answered by an id")


def _publish_failed(
    failures: dict[int, Exception], receipts: dict[int, Receipt], *, indeterminate: bool
) -> PublishFailed:
    first = next(iter(failures.values()))
    count = len(failures) + len(receipts)
    words = f"{len(failures)} of {count} record(s) were not accepted: {first}"
    if indeterminate:
        words += "; those that were sent may have been accepted all the same"
    return PublishFailed(words, failures, indeterminate=indeterminate, receipts=receipts)
