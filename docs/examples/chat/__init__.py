"""A chat over any layer: what `acked` looks like in an application, and what a gap looks like."""
