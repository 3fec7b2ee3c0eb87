"""A consumer that is supervised: `channel.process()` runs a handler for each message."""
