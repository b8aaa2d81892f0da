"""exp, tanh, erf, gelu …: the reference in numpy, and the jitted functions."""
