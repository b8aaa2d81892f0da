"""Benchmarks: each a module run with ``python -m bench.NAME``; see bench/NOTES.md."""
