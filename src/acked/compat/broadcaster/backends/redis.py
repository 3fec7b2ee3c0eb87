"""`redis://` for PUBLISH and SUBSCRIBE, `redis-stream://` for streams; `rediss` is over TLS."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from redis.asyncio import Redis

from acked.compat._errors import Driver
from acked.compat._redis import REDIS, RedisSource, plain_url
from acked.compat._source import OnLoss, way
from acked.compat.broadcaster._base import TextSource
from acked.layers.redis_pubsub import RedisPubSubLayer, url_of
from acked.layers.redis_streams import RedisStreamsTail

__all__ = ("RedisBackend", "RedisStreamBackend")


class RedisBackend(RedisSource, TextSource):
    """News over Redis; `conn` is a client whose address, credentials and TLS are used.

    The client itself is left alone: connections are made anew, and it is yours to close.
    """

    INNER: ClassVar[Sequence[str]] = ("_pubsub_listener",)
    publishes_unconnected: ClassVar[bool] = True

    def __init__(
        self,
        url: str | None = None,
        *,
        conn: Redis | None = None,
        on_loss: OnLoss = "reconnect",
    ) -> None:
        if url is None and conn is None:
            raise AssertionError("conn must be provided if url is not")
        plain = url_of(conn) if conn is not None else plain_url(url or "")
        super().__init__(partial(RedisPubSubLayer, plain, on_loss=way(on_loss)), on_loss)


class RedisStreamBackend(TextSource):
    """News over Redis streams, on one connection: nothing is missed while it is made again.

    Entries are those of the original, so that both can read what the other wrote.
    """

    driver: ClassVar[Driver] = REDIS
    INNER: ClassVar[Sequence[str]] = ("wait_for_messages",)
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str, on_loss: OnLoss = "reconnect") -> None:
        plain, reconnects = plain_url(url.replace("-stream", "", 1)), way(on_loss) == "reconnect"
        make = partial(RedisStreamsTail, plain, reconnects=reconnects, field="message")
        super().__init__(make, on_loss)

    @property
    def _producer(self) -> Redis:
        layer: Any = self._channel.layer
        client: Redis = layer.client
        return client

    _consumer = _producer
