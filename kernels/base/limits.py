"""Limits of arguments that more than one file checks."""

#: More threads than any machine has; each takes a cache line of every call's context.
MAX_THREADS = 1024
