"""Instruction sets, one per file, and what they are written with."""
