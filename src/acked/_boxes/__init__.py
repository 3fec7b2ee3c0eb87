"""Tables beside the user's data, for `acked.outbox` and `acked.inbox`."""
