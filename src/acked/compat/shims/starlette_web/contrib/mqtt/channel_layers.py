"""As `acked.compat.starlette_web.contrib.mqtt.channel_layers`."""

from acked.compat.starlette_web.contrib.mqtt.channel_layers import MQTTChannelLayer

__all__ = ("MQTTChannelLayer",)
