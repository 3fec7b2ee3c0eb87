"""As `acked.compat.starlette_web.common.channels.layers.local_memory`."""

from acked.compat.starlette_web.common.channels.layers.local_memory import InMemoryChannelLayer

__all__ = ("InMemoryChannelLayer",)
