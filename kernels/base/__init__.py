"""What every kernel needs: compilation and its cache, memory, atomics, contexts."""
