"""The errors of channels."""

from acked.compat.starlette_web.common.http.exceptions import BaseApplicationError

__all__ = ("ChannelsError", "ListenerClosed")


class ChannelsError(BaseApplicationError):
    """A channel cannot do what was asked of it."""


class ListenerClosed(ChannelsError):
    """Raised by a layer's `next_published`: nothing comes any more. It ends `async for`."""
