"""Benchmarks: each run with ``python -m bench NAME``; see bench/NOTES.md."""
