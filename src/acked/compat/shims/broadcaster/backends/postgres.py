"""As `acked.compat.broadcaster.backends.postgres`."""

from acked.compat.broadcaster.backends.postgres import PostgresBackend

__all__ = ("PostgresBackend",)
