"""The laws, by concern: each a test whose name is the claim."""
