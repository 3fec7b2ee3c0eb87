"""`redis://` for PUBLISH and SUBSCRIBE, `redis-stream://` for streams; `rediss` is over TLS."""

from typing import Any, ClassVar, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from acked import ConnectionLost, LayerError, PublishFailed, fire_and_forget
from acked.abc import FireAndForgetLayer
from acked.compat._drivers import Driver
from acked.compat._redis_urls import REDIS, plain_url, url_of
from acked.compat._source import OnLoss
from acked.compat.broadcaster._base import Event, TextSource, as_bytes
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer
from acked.types import Record

__all__ = ("RedisBackend", "RedisStreamBackend")

ANSWER: Final = 10.0
"""Seconds that the server may take to accept a message for a stream."""
FIELD: Final = "message"
"""Where the original keeps a message in an entry of a stream, and so do we."""


class RedisBackend(TextSource):
    """News over Redis; `conn` is a client whose address, credentials and TLS are used.

    The client itself is left alone: connections are made anew, and it is yours to close.
    """

    driver: ClassVar[Driver] = REDIS
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str | None = None, *, conn: "Redis | None" = None) -> None:
        if url is None and conn is None:
            raise AssertionError("conn must be provided if url is not")
        super().__init__(url_of(conn) if conn is not None else plain_url(url or ""))

    def layer(self, on_loss: OnLoss) -> FireAndForgetLayer:
        """Return a layer of PUBLISH and SUBSCRIBE."""
        return RedisPubSubLayer(self._url, on_loss="raise" if on_loss == "end" else on_loss)


class RedisStreamBackend(TextSource):
    """News over Redis streams: nothing is missed while the connection is made again.

    Subscribers of one channel in this process share one reader.
    """

    driver: ClassVar[Driver] = REDIS
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        super().__init__(plain_url(url.replace("-stream", "", 1)))

    def layer(self, on_loss: OnLoss) -> FireAndForgetLayer:
        """Return a layer of streams that are read by a group for each channel and process."""
        self._streams = RedisStreamsLayer(self._url)
        return fire_and_forget(
            self._streams, reconnect_timeout=None if on_loss == "reconnect" else 0.0
        )

    async def publish(self, channel: str, message: Any) -> None:
        """Append an entry as the original does, so that both can read what the other wrote."""
        body = as_bytes(message)
        with self.driver.translated():
            try:
                with anyio.fail_after(ANSWER):
                    await self._streams.client.xadd(channel, {FIELD: body})
            except (RedisError, OSError) as error:
                is_lost = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
                kind, said = (ConnectionLost, "no answer") if is_lost else (LayerError, "refused")
                failure = kind(f"{self._streams!r}: {said}: {error}")
                raise PublishFailed(str(failure), {0: failure}, indeterminate=is_lost) from error

    def event(self, record: Record) -> Event:
        """Return the text of an entry, whoever wrote it."""
        text = record.headers.get(FIELD)
        # The layer keeps bytes that are no UTF-8 as surrogates.
        body = record.body if text is None else text.encode(errors="surrogateescape")
        return Event(record.topic, body.decode(errors="replace"))
