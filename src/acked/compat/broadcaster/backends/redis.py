"""`redis://` for PUBLISH and SUBSCRIBE, `redis-stream://` for streams; `rediss` is over TLS."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from redis.asyncio import Redis

from acked import Record
from acked.abc import FireAndForgetLayer
from acked.compat._errors import Driver
from acked.compat._redis_urls import REDIS, RedisSource, plain_url, url_of
from acked.compat._source import OnLoss, way
from acked.compat.broadcaster._base import Event, TextSource, as_bytes
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsTail

__all__ = ("RedisBackend", "RedisStreamBackend")

FIELD: Final = "message"
"""Where the original keeps a message in an entry of a stream, and so do we."""


class RedisBackend(RedisSource, TextSource):
    """News over Redis; `conn` is a client whose address, credentials and TLS are used.

    The client itself is left alone: connections are made anew, and it is yours to close.
    """

    INNER: ClassVar[Sequence[str]] = ("_pubsub_listener",)
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str | None = None, *, conn: "Redis | None" = None) -> None:
        if url is None and conn is None:
            raise AssertionError("conn must be provided if url is not")
        super().__init__(url_of(conn) if conn is not None else plain_url(url or ""))

    def layer(self, on_loss: OnLoss) -> FireAndForgetLayer:
        """Return a layer of PUBLISH and SUBSCRIBE."""
        return RedisPubSubLayer(self._url, on_loss=way(on_loss))


class RedisStreamBackend(TextSource):
    """News over Redis streams, on one connection: nothing is missed while it is made again."""

    driver: ClassVar[Driver] = REDIS
    INNER: ClassVar[Sequence[str]] = ("wait_for_messages",)
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        super().__init__(plain_url(url.replace("-stream", "", 1)))

    def layer(self, on_loss: OnLoss) -> FireAndForgetLayer:
        """Return a layer that reads streams, without any group."""
        self._tail = RedisStreamsTail(self._url, reconnects=on_loss == "reconnect")
        return self._tail

    @property
    def _producer(self) -> "Redis":
        return self._tail.client

    _consumer = _producer

    async def publish(self, channel: str, message: Any) -> None:
        """Append an entry as the original does, so that both can read what the other wrote."""
        entry = (b"XADD", channel.encode(), b"*", FIELD.encode(), as_bytes(message))
        with self.driver.translated():
            await self._tail.send([entry])

    def event(self, record: Record) -> Event:
        """Return the text of an entry, whoever wrote it."""
        text = record.headers.get(FIELD)
        # The layer keeps bytes that are no UTF-8 as surrogates.
        body = record.body if text is None else text.encode(errors="surrogateescape")
        return Event(record.topic, body.decode(errors="replace"))
