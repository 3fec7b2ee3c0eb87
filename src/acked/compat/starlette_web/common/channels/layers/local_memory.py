"""Within one process: any object, by reference; on asyncio or trio."""

from acked.compat.starlette_web._channels import InMemoryChannelLayer

__all__ = ("InMemoryChannelLayer",)
