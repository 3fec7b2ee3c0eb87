"""The engine: holds every policy once, above any layer."""
