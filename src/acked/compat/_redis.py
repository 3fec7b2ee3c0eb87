"""What both originals' backends for Redis have in common."""

import logging
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._errors import Driver
from acked.compat._source import Source
from acked.layers.redis_pubsub import url_of

__all__ = ("REDIS", "RedisSource", "plain_url")

logger = logging.getLogger("acked.compat")

REDIS: Final = Driver(lost=(RedisConnectionError,), refused=(RedisError,))
USED: Final = {"db", "username", "password"}


class RedisSource(Source):
    """A face of `RedisPubSubLayer`, with what subclasses know from the original."""

    driver: ClassVar[Driver] = REDIS

    @property
    def _conn(self) -> Redis:
        layer: Any = self._channel.layer
        client: Redis = layer.client
        return client

    @property
    def _pubsub(self) -> SimpleNamespace:
        """What is registered by it in `subscribe` belongs to that subscription."""
        return SimpleNamespace(
            subscribe=self._listen,
            unsubscribe=self._unlisten,
            psubscribe=partial(self._listen, patterns=True),
            punsubscribe=partial(self._unlisten, patterns=True),
        )


def plain_url(url: str) -> str:
    """Return `url` with nothing in its query but TLS, which is all that our layers know.

    They have their own answers to redis-py's other options, and the log says so.
    """
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    if unused := sorted(name for name in given - USED if not name.startswith("ssl_")):
        logger.info("acked has its own way instead of these options: %s", ", ".join(unused))
    return url_of(Redis.from_url(url))  # pyright: ignore[reportUnknownMemberType] - unannotated
