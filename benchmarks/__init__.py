"""Benchmarks: `python -m benchmarks NAME [--quick] [--json FOLDER]`; ratios within one run."""
