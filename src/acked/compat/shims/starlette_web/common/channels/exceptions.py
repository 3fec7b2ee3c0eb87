"""As `acked.compat.starlette_web.common.channels.exceptions`."""

from acked.compat.starlette_web.common.channels.exceptions import ChannelsError, ListenerClosed

__all__ = (
    "ChannelsError",
    "ListenerClosed",
)
