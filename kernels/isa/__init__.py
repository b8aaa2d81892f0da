"""Instruction sets, one a file, and the vocabulary they are written in."""
