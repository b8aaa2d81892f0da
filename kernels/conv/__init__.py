"""Convolution, as a product whose rows are output channels."""
