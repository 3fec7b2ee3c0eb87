"""What a channel layer of your own inherits from."""

from acked.compat.starlette_web._channels import BaseChannelLayer

__all__ = ("BaseChannelLayer",)
