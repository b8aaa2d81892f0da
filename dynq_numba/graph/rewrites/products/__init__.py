"""Linears and convolutions, and what goes into them."""
