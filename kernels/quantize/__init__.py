"""Rows of float32 to 8 bits and back, alone and on the way into panels."""
