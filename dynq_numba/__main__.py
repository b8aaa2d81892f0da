"""``python -m dynq_numba``: see cli/."""

import sys

from .cli import main

sys.exit(main())
