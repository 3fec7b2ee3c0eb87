"""As `acked.compat.broadcaster._backends`."""
