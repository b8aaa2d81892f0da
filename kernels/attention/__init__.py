"""Attention in float32 and in integers."""
