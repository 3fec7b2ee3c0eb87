"""What the layer asks of a server's ACL: each command that it uses, as it uses it.

Nothing of this is ever carried out; see `acked.layers._redis.findings.rights`.
"""

from collections.abc import Sequence

from acked.layers._redis.connection import Command
from acked.layers.redis_streams._keys import group_keys

__all__ = ("commands_for",)


def commands_for(topic: str) -> Sequence[Command]:
    """Return every command for the stream `topic`, with keys beside it, all in one slot."""
    stream, until, wake, scan, group = group_keys(topic, "acked-check")
    script, entry = b"return 0", b"0-1"
    return [
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
