"""The ``dynq`` command, also ``python -m dynq_numba``: each of its commands is a file here, and a row in main.py."""

from .main import main as main
