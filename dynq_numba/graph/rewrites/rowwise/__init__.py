"""Norms, activations, means of tokens."""
