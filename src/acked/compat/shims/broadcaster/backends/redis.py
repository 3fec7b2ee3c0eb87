"""As `acked.compat.broadcaster.backends.redis`."""

from acked.compat.broadcaster.backends.redis import RedisBackend, RedisStreamBackend

__all__ = ("RedisBackend", "RedisStreamBackend")
