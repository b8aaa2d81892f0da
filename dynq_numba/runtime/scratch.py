"""The process's slots of scratch memory (kernels/scratch.py), and what a fork does to them."""

from __future__ import annotations

import os

import numpy as np

from ..kernels.scratch import LINE, SLOTS

_ROOM = np.zeros((SLOTS, LINE), np.int64)
#: Address of the slots.
ADDRESS = _ROOM.ctypes.data


def _forget() -> None:
    """In a child: what other threads had when it was forked, they will not give back, and may have half exchanged."""
    _ROOM[_ROOM[:, 0] != 0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
