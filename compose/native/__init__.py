"""Brokers as private processes on loopback ports, for machines without a container engine."""
