"""What the worker is told."""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Pointer


class DoubleContext(Context):
    count: int
    x: Pointer
    out: Pointer
