"""As `acked.compat.starlette_web.contrib.mqtt`."""

from pkgutil import extend_path

from acked.compat.starlette_web.contrib.mqtt import MQTTChannelLayer

__path__ = extend_path(__path__, __name__)

__all__ = ("MQTTChannelLayer",)
