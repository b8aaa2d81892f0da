"""What a step of a program returns: that it is done, or why not (kernels/program/run.py)."""

FINE, NO_MEMORY, BAD_INDEX = 0, 1, 2
