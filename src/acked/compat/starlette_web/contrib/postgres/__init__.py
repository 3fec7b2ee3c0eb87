"""PostgreSQL: `channel_layers`."""
