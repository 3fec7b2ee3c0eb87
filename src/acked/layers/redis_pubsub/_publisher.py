"""Publishing: by PUBLISH to any node, or by SPUBLISH to the node that serves the topic's slot."""

from collections.abc import Sequence
from typing import Final, cast

from acked.errors import LayerError, MessageTooLarge, PublishFailed
from acked.layers._redis.client import Client
from acked.layers._redis.errors import is_unanswered
from acked.layers.redis_pubsub._envelope import packed
from acked.types import Record

__all__ = ("MAX_PAYLOAD", "publish")

MAX_PAYLOAD: Final = 512 * 1024 * 1024
"""Redis' limit of one string (`proto-max-bulk-len`)."""


async def publish(client: Client, records: Sequence[Record], *, is_sharded: bool) -> None:
    """Send `records` at once; return when the server has answered for each."""
    word = b"SPUBLISH" if is_sharded else b"PUBLISH"
    commands = [(word, record.topic.encode(), packed(record)) for record in records]
    for record, (*_, payload) in zip(records, commands, strict=True):
        if len(payload) > MAX_PAYLOAD:  # with its headers
            raise MessageTooLarge(record.topic, len(payload), MAX_PAYLOAD)
    try:
        replies, is_sent = await client.exchange(commands), True
    except LayerError as error:
        replies, is_sent = [error] * len(commands), False
    failures = {i: reply for i, reply in enumerate(replies) if isinstance(reply, LayerError)}
    if failures:
        first = next(iter(failures.values()))
        raise PublishFailed(
            f"{len(failures)} of {len(commands)} were not published: {first}",
            cast("dict[int, Exception]", failures),
            indeterminate=is_sent and any(map(is_unanswered, replies)),
        ) from first
