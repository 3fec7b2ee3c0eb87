"""As `acked.compat.starlette_web.common.channels.event`."""

from acked.compat.starlette_web.common.channels.event import Event

__all__ = ("Event",)
