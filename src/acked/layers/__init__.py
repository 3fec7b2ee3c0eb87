"""Adapters to one broker mechanism each; see `acked.abc` for the contract."""
