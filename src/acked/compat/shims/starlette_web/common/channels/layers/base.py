"""As `acked.compat.starlette_web.common.channels.layers.base`."""

from acked.compat.starlette_web.common.channels.layers.base import BaseChannelLayer

__all__ = ("BaseChannelLayer",)
