"""Measures sslfast beside its peers: ``python -m benchmarks``. docs/benchmarks.md says how the numbers are taken."""
