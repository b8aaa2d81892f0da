"""Softmax, norms, elementwise functions, rotary embeddings."""
