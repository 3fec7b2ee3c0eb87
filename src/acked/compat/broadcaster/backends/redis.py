"""`redis://` for PUBLISH and SUBSCRIBE, `redis-stream://` for streams; `rediss` is over TLS."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from acked import Message, fire_and_forget
from acked.abc import FireAndForgetLayer
from acked.compat._drivers import Driver
from acked.compat._redis_urls import plain_url, url_of
from acked.compat.broadcaster._events import Event
from acked.compat.broadcaster._sharing import Shared
from acked.compat.broadcaster._text import as_bytes, as_text
from acked.compat.broadcaster.backends._source import Source
from acked.errors import ConnectionLost, EncodeError, LayerError, PublishFailed
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.layers.redis_streams import RedisStreamsLayer

__all__ = ("RedisBackend", "RedisStreamBackend")

REDIS: Final = Driver(lost=(RedisConnectionError,), refused=(RedisError,))
ANSWER: Final = 10.0
"""Seconds that the server may take to accept a message for a stream."""
FIELD: Final = "message"
"""Where the original keeps a message in an entry of a stream, and so do we."""


class RedisBackend(Source):
    """News over Redis; `conn` is a client whose address, credentials and TLS are used.

    The client itself is left alone: connections are made anew, and it is yours to close.
    """

    driver: ClassVar[Driver] = REDIS
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str | None = None, *, conn: "Redis | None" = None) -> None:
        super().__init__()
        if url is None and conn is None:
            raise AssertionError("conn must be provided if url is not")
        self._url = url_of(conn) if conn is not None else plain_url(url or "")

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:
        """Return a layer of PUBLISH and SUBSCRIBE."""
        return RedisPubSubLayer(self._url, on_loss="reconnect" if reconnects else "raise")


class RedisStreamBackend(Source):
    """News over Redis streams: nothing is missed while the connection is made again.

    Subscribers of one channel in this process share one reader.
    """

    driver: ClassVar[Driver] = REDIS
    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = plain_url(url.replace("-stream", "", 1))
        self._streams: RedisStreamsLayer | None = None

    def layer(self, *, reconnects: bool) -> FireAndForgetLayer:
        """Return a layer of streams that are read by a group for each channel and process."""
        self._streams = streams = RedisStreamsLayer(self._url)
        return Shared(fire_and_forget(streams, reconnect_timeout=None if reconnects else 0.0))

    async def publish(self, channel: str, message: Any) -> None:
        """Append an entry as the original does, so that both can read what the other wrote."""
        assert self._streams is not None  # noqa: S101 - with the channel
        try:
            body = as_bytes(message)
        except TypeError as error:
            raise EncodeError(f"nothing was published to {channel!r}: {error}") from error
        with self.driver.translated(), _in_our_words(repr(self._streams)):
            await self._streams.client.xadd(channel, {FIELD: body})

    def event(self, message: Message[Any]) -> Event:
        """Return the text of an entry, whoever wrote it."""
        text = message.headers.get(FIELD)
        return Event(message.topic, message.body if text is None else _readable(text))


def _readable(text: str) -> str:
    """Return a header's text; the layer keeps bytes that are no UTF-8 as surrogates."""
    return as_text(text.encode(errors="surrogateescape"))


@contextmanager
def _in_our_words(where: str) -> Generator[None]:
    """Raise `PublishFailed` for what redis-py raises within, and when the answer takes too long."""
    try:
        with anyio.fail_after(ANSWER):
            yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        lost = ConnectionLost(f"{where} did not answer ({error}); check that Redis can be reached")
        raise PublishFailed(str(lost), {0: lost}, indeterminate=True) from error
    except RedisError as error:
        refused = LayerError(f"{where} refused: {error}")
        raise PublishFailed(str(refused), {0: refused}, indeterminate=False) from error
