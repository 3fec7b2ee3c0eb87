"""Benchmarks: `python -m benchmarks NAME [--quick] [--json FILE]`; ratios within one run."""
