"""What a subscriber is handed."""

from acked.compat.starlette_web._channels import Event

__all__ = ("Event",)
