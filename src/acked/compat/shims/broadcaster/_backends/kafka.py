"""As `acked.compat.broadcaster.backends.kafka`."""

from acked.compat.broadcaster.backends.kafka import KafkaBackend

__all__ = ("KafkaBackend",)
