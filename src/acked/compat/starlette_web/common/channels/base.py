"""`Channel`, and what it hands out."""

from acked.compat.starlette_web._channels import Channel, Event, Subscriber

__all__ = ("Channel", "Event", "Subscriber")
