"""Operators on rows of float32: softmax, norms, elementwise maps, rotary."""
