"""``python -m dynq_numba``: see cli.py."""

import sys

from .cli import main

sys.exit(main())
