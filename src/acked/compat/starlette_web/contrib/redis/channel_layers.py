"""PUBLISH and SUBSCRIBE."""

from typing import Any, ClassVar, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from acked.compat._drivers import Driver
from acked.compat._redis_urls import url_of
from acked.compat.starlette_web._source import Listens, OnLoss, Source, way
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.http.exceptions import ImproperlyConfigured
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer, JSONSerializer
from acked.errors import ConfigurationError
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.types import Record

__all__ = ("RedisPubSubChannelLayer",)


class RedisPubSubChannelLayer(Source):
    """News over Redis, on one connection that listens.

    `options` are those of `redis.asyncio.Redis`: address, credentials and TLS are used. What a
    subclass registers by `self._pubsub.subscribe(...)` or `.psubscribe(...)` in its `subscribe`
    belongs to that subscription. `redis` is a client for whatever else Redis can do, while the
    channel is entered.
    """

    serializer_class: ClassVar[type[BaseSerializer]] = JSONSerializer
    driver: ClassVar[Driver] = Driver(lost=(RedisConnectionError,), refused=(RedisError,))

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        try:
            url = url_of(Redis(**options))
            layer = RedisPubSubLayer(url, on_loss=way(on_loss))
        except (ConfigurationError, TypeError) as error:
            raise ImproperlyConfigured(details=str(error)) from error
        super().__init__(layer, on_loss, ())
        self._layer: Final = layer
        self._serializer = self.serializer_class()

    @property
    def redis(self) -> "Redis":
        """The client; raises `LayerError` while the channel is not entered."""
        return self._layer.client

    @property
    def _pubsub(self) -> Listens:
        return self._listens

    async def publish(self, group: str, message: Any, **kwargs: Any) -> None:
        """Publish `message`; raises what the serializer raises, or the driver's own error."""
        del kwargs
        body = self._serializer.serialize(message)
        await self._send(group, body.encode() if isinstance(body, str) else body)

    def event(self, record: Record) -> Event:
        """Return the event; raises what the serializer raises."""
        return Event(record.topic, self._serializer.deserialize(record.body))
