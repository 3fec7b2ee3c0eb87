"""PUBLISH and SUBSCRIBE."""

from typing import Any, ClassVar

from redis.asyncio import Redis

from acked.compat._drivers import Driver
from acked.compat._redis_urls import REDIS, url_of
from acked.compat._source import Listens, OnLoss
from acked.compat.starlette_web._source_layer import SourceLayer
from acked.compat.starlette_web.common.channels.event import Event
from acked.compat.starlette_web.common.utils.serializers import BaseSerializer, JSONSerializer
from acked.layers.redis_pubsub import RedisPubSubLayer
from acked.types import Record

__all__ = ("RedisPubSubChannelLayer",)


class RedisPubSubChannelLayer(SourceLayer):
    """News over Redis, on one connection that listens.

    `options` are those of `redis.asyncio.Redis`: address, credentials and TLS are used. What a
    subclass registers by `self._pubsub.subscribe(...)` or `.psubscribe(...)` in its `subscribe`
    belongs to that subscription. `redis` is a client for whatever else Redis can do, while the
    channel is entered.
    """

    serializer_class: ClassVar[type[BaseSerializer]] = JSONSerializer
    driver: ClassVar[Driver] = REDIS

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        def make() -> RedisPubSubLayer:
            self._layer = RedisPubSubLayer(
                url_of(Redis(**options)), on_loss="raise" if on_loss == "end" else on_loss
            )
            return self._layer

        super().__init__(make, on_loss)
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
