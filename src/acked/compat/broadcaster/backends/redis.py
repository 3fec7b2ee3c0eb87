"""`redis://` for PUBLISH and SUBSCRIBE, `redis-stream://` for streams; `rediss` is over TLS."""

from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._source import Driver, OnLoss, Source, leave_out
from acked.compat.broadcaster._base import TextSource
from acked.layers.redis_pubsub import RedisPubSubLayer, url_of
from acked.layers.redis_streams import RedisStreamsTail

__all__ = ("RedisBackend", "RedisStreamBackend")

USED: Final = {"db", "username", "password"}


class RedisSource(Source):
    """A face of a layer over Redis, with what subclasses know from the originals."""

    driver: ClassVar[Driver] = Driver(lost=(RedisConnectionError,), refused=(RedisError,))

    @property
    def _conn(self) -> Redis:
        layer: Any = self._channel.layer
        client: Redis = layer.client
        return client

    _producer = _consumer = _conn

    @property
    def _pubsub(self) -> SimpleNamespace:
        """What a subclass registers by it in its `subscribe` belongs to that subscription."""
        return SimpleNamespace(
            subscribe=self._listen,
            unsubscribe=self._unlisten,
            psubscribe=partial(self._listen, patterns=True),
            punsubscribe=partial(self._unlisten, patterns=True),
        )


class RedisBackend(RedisSource, TextSource):
    """News over Redis; `conn` is a client whose address, credentials and TLS are used.

    The client itself is left alone: connections are made anew, and it is yours to close.
    """

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
        super().__init__(RedisPubSubLayer, plain, on_loss)


class RedisStreamBackend(RedisSource, TextSource):
    """News over Redis streams, on one connection: nothing is missed while it is made again.

    Entries are those of the original, so that both can read what the other wrote.
    """

    publishes_unconnected: ClassVar[bool] = True

    def __init__(self, url: str, on_loss: OnLoss = "reconnect") -> None:
        plain = plain_url(url.replace("-stream", "", 1))
        super().__init__(RedisStreamsTail, plain, on_loss, field="message")


def plain_url(url: str) -> str:
    """Return `url` with nothing in its query but TLS, which is all that our layers know.

    They have their own answers to redis-py's other options, and the log says so.
    """
    given = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    leave_out({name for name in given - USED if not name.startswith("ssl_")}, "redis")
    return url_of(Redis.from_url(url))  # pyright: ignore[reportUnknownMemberType] - unannotated
