"""What the layer asks of a server: its version, and of its ACL each command that it uses."""

import re
from collections.abc import Sequence
from typing import Final

from acked.errors import LayerError
from acked.layers._redis.client import Client
from acked.layers._redis.connection import Command
from acked.layers.redis_streams._keys import group_keys

__all__ = ("check_version", "commands_for")

OLDEST_SERVER: Final = (6, 2)


def commands_for(topic: str, *, in_key_order: bool) -> Sequence[Command]:
    """Return every command for the stream `topic`, with keys beside it, all in one slot.

    Those for the order of keys only where somebody keeps to it. None of this is ever carried out;
    see `acked.layers._redis.findings.rights`.
    """
    stream, until, wake, scan, lane_of, lanes, group = group_keys(topic, "acked-check")
    script, entry = b"return 0", b"0-1"
    for_order = [
        (b"HGET", lane_of, b"a"),
        (b"HSET", lane_of, b"a", b"b"),
        (b"HDEL", lane_of, b"a"),
        (b"ZADD", lanes, b"0", b"a"),
        (b"XRANGE", stream, entry, entry),
    ]
    return [
        *(for_order if in_key_order else ()),
        (b"XADD", stream, b"*", b"a", b"b"),
        (b"XADD", wake, b"*", b"a", b"b"),
        (b"XREADGROUP", b"GROUP", group, b"c", b"STREAMS", stream, b">"),
        (b"XREADGROUP", b"GROUP", group, b"c", b"STREAMS", wake, b">"),
        (b"XACK", stream, group, entry),
        (b"XCLAIM", stream, group, b"c", b"0", entry),
        (b"XPENDING", stream, group),
        (b"XGROUP", b"CREATE", stream, group, b"$"),
        (b"XGROUP", b"DELCONSUMER", stream, group, b"c"),
        (b"XGROUP", b"DESTROY", stream, group),
        (b"XINFO", b"GROUPS", stream),
        (b"XINFO", b"CONSUMERS", stream, group),
        (b"XTRIM", stream, b"MINID", entry),
        (b"ZADD", until, b"0", entry),
        (b"ZREM", until, entry),
        (b"ZRANGE", until, b"0", b"0"),
        (b"ZRANGEBYSCORE", until, b"0", b"0"),
        (b"ZSCORE", until, entry),
        (b"ZCARD", until),
        (b"GET", scan),
        (b"SET", scan, b"0"),
        (b"DEL", until, scan),
        (b"EXISTS", until),
        (b"TIME",),
        (b"EVAL", script, b"1", stream),
        (b"EVALSHA", b"0" * 40, b"1", stream),
    ]


async def check_version(way: Client) -> None:
    """Raise `LayerError` for a server that is too old; where INFO is forbidden to us, trust."""
    (info,) = await way.exchange([(b"INFO", b"server")])
    found = re.search(rb"redis_version:(\d+)\.(\d+)", info) if isinstance(info, bytes) else None
    if found and (int(found[1]), int(found[2])) < OLDEST_SERVER:
        raise LayerError(
            f"Redis at {way.where} is version {found[0].partition(b':')[2].decode()}; its "
            "consumer groups can do what is needed from 6.2 on: use a newer server"
        )
