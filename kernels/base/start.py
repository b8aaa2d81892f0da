"""Where the process was when the package was imported. Imports no numba: the rest of the package comes later."""

from __future__ import annotations

from pathlib import Path


def _folder() -> str:
    """The working directory, or "" where there is none any more."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


#: What a relative NUMBA_CACHE_DIR is relative to, wherever the process goes later.
STARTED_IN = _folder()
