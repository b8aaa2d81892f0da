"""Attention, its masks and heads, rotary embeddings."""
