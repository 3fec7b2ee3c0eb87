"""As `acked.compat.starlette_web.contrib.postgres.channel_layers`."""

from acked.compat.starlette_web.contrib.postgres.channel_layers import PostgreSQLChannelLayer

__all__ = ("PostgreSQLChannelLayer",)
