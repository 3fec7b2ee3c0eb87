"""Channel layers over brokers; each needs its driver."""
