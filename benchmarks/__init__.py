"""Measures sslfast beside its peers: ``python -m benchmarks``. docs/benchmarks.md says how the numbers are taken."""

import sys

if sys.version_info < (3, 11):
    raise SystemExit(f"benchmarks: Python 3.11 or newer is needed (tomllib), this is {sys.version.split()[0]}")
