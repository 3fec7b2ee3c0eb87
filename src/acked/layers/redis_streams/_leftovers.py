"""What a consumer owns at the server: to find what it does not know of, and to give all back.

A page at a time: a consumer may own very much, and the server does nothing else while it looks.
"""

from collections.abc import Sequence
from typing import Final, cast

from acked.errors import LayerError
from acked.layers._redis.connection import CommandRunner
from acked.layers._redis.errors import group_is_missing
from acked.layers._redis.reader import Reader
from acked.layers.redis_streams._consumer_state import ConsumerState
from acked.layers.redis_streams._records import Lease, lease_of
from acked.layers.redis_streams._scripts import LEAVE, REQUEUE

__all__ = ("give_back_all", "unknown_leases")

PAGE: Final = 1000


async def unknown_leases(
    reader: Reader, seat: ConsumerState, topic: str, after: bytes, most: int
) -> tuple[list[Lease], bytes]:
    """Return up to `most` leases of `topic` that we own and do not know, and where to go on.

    That is nothing when there are no more. Raises `LayerError`.
    """
    (reply,) = await reader.exchange([_pending(seat, topic, after)])
    rows = _rows(reply)
    found: list[Lease] = []
    for entry_id, lease in rows:
        if (topic, lease) not in seat.known:
            if len(found) == most:
                return found, after
            found.append(lease)
        after = b"(" + entry_id
    return found, after if len(rows) == PAGE else b""


async def give_back_all(server: CommandRunner, seat: ConsumerState, topics: Sequence[str]) -> None:
    """Give back what we own of `topics`, uncharged what we never knew, and delete the consumer."""
    left = list(topics)
    while left:
        replies = await server.exchange([_pending(seat, topic, b"-") for topic in left])
        calls = [seat.call(LEAVE, topic) for topic in left]
        for topic, reply in zip(left, replies, strict=True):
            if group_is_missing(reply):
                continue
            leases = [lease for _, lease in _rows(reply)]
            for charge in (b"0", b"-1"):
                is_known = charge == b"0"
                some = [one for one in leases if ((topic, one) in seat.known) is is_known]
                if some:
                    calls.insert(0, seat.call(REQUEUE, topic, b"0", charge, *some))
        answers = (await server.run(calls))[-len(left) :]
        left = [topic for topic, owns in zip(left, answers, strict=True) if owns == 1]


def _pending(seat: ConsumerState, topic: str, after: bytes) -> tuple[bytes, ...]:
    stream = seat.places[topic].stream
    return (b"XPENDING", stream, seat.group, after, b"+", b"%d" % PAGE, seat.consumer)


def _rows(reply: object) -> list[tuple[bytes, Lease]]:
    """Return id and lease of each entry of an XPENDING."""
    if isinstance(reply, LayerError):
        raise reply
    rows = cast("list[tuple[bytes, bytes, int, int]]", reply)
    return [(entry_id, lease_of(entry_id, count)) for entry_id, _, _, count in rows]
