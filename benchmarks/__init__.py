"""Measures penstock against named rivals in one run: `python -m benchmarks`. See README.md beside this file."""
