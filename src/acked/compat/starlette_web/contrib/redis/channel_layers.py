"""PUBLISH and SUBSCRIBE."""

from typing import Any

from redis.asyncio import Redis

from acked.compat._source import OnLoss
from acked.compat.broadcaster.backends.redis import RedisSource
from acked.compat.starlette_web.common.channels.layers.base import SourceLayer, configured
from acked.layers.redis_pubsub import RedisPubSubLayer, url_of

__all__ = ("RedisPubSubChannelLayer",)


class RedisPubSubChannelLayer(RedisSource, SourceLayer):
    """News over Redis, on one connection that listens.

    `options` are those of `redis.asyncio.Redis`: address, credentials and TLS are used.
    """

    def __init__(self, *, on_loss: OnLoss = "reconnect", **options: Any) -> None:
        with configured():
            super().__init__(RedisPubSubLayer, url_of(Redis(**options)), on_loss)

    @property
    def redis(self) -> Redis:
        """A client for whatever else Redis can do; `LayerError` while there is no connection."""
        return self._conn
