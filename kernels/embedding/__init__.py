"""Lookups in quantized tables."""
