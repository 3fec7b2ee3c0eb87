"""What layers of several brokers need, and none of them is about."""
