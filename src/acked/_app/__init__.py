"""Consumers of several modules, run as one program: see `acked.App`."""
