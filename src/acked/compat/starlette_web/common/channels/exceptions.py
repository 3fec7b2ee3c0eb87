"""The errors of channels."""

from acked.compat.starlette_web._channels import ChannelsError, ListenerClosed

__all__ = ("ChannelsError", "ListenerClosed")
