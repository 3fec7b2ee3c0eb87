"""How messages become payloads."""

from acked.compat.starlette_web._channels import MQTTSerializer

__all__ = ("MQTTSerializer",)
