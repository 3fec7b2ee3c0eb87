"""As `acked.compat.starlette_web.common.channels.base`."""

from acked.compat.starlette_web.common.channels.base import Channel, Event, Subscriber

__all__ = (
    "Channel",
    "Event",
    "Subscriber",
)
