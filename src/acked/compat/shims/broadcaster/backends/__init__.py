"""As `acked.compat.broadcaster.backends`."""
