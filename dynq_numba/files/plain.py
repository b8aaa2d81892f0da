"""What JSON has, of what Python has."""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any) -> Any:
    """Dicts, lists, texts and numbers; None for a number that is not finite, which JSON lacks."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
