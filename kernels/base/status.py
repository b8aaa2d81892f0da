"""What a step of a program returns: that it is done, or why not (kernels/program/run.py)."""

FINE, NO_MEMORY, BAD_INDEX = 0, 1, 2
#: A turn of a loop is not as those for which the loop was planned.
OTHER_TURN = 3
