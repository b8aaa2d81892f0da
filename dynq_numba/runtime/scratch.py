"""The process's slots of scratch memory (kernels/threads/scratch.py), and what a fork does to them."""

from __future__ import annotations

import os

import numpy as np

from ..kernels.base.memory import ALIGN
from ..kernels.threads.scratch import SLOTS, Kept
from .memory import aligned_zeros

_ROOM = aligned_zeros(SLOTS * ALIGN).view(np.int64).reshape(SLOTS, -1)
#: Address of the slots.
ADDRESS = _ROOM.ctypes.data


def _forget() -> None:
    """In a child: forget the slots. The parent's threads cannot give them back, and may have left one half changed."""
    _ROOM[_ROOM[:, Kept.taken] != 0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
