"""As `acked.compat.starlette_web.contrib.redis.channel_layers`."""

from acked.compat.starlette_web.contrib.redis.channel_layers import RedisPubSubChannelLayer

__all__ = ("RedisPubSubChannelLayer",)
