"""Redis: `channel_layers`."""
