"""Old names, which work until 0.3. Each warns once per calling place, and says the new name."""

from __future__ import annotations

import warnings

UNTIL = "0.3"


def warn(old: str, new: str, level: int = 3) -> None:
    """`level`: 3 for the caller of the function that calls this."""
    warnings.warn(f"{old} will be removed in dynq-numba {UNTIL}: {new}", DeprecationWarning, level)
