"""Real brokers for tests, benchmarks and examples: in containers or as private processes.

`python compose/brokers.py up` from a shell; `compose.fleet.create` from Python.
"""
