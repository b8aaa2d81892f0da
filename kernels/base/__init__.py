"""What every kernel stands on: compilation and its cache, memory, atomics, contexts."""
