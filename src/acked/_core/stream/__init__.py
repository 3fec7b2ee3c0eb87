"""Subscriptions whose messages are missed or counted as missed: nothing to settle."""
