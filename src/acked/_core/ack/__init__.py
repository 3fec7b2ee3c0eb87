"""Subscriptions whose messages stay owed until they are settled."""
