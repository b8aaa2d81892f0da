"""Every operator on arrays between guard pages: one byte read or written beyond an array ends the process.

    python tests/programs/guarded.py NAME        run an operator's cases on every instruction set; status 0: all is well

Inputs and outputs are pieces of their own mappings, flush with an unreadable page behind them, or before them.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
from itertools import product

import cases
import numpy as np
from cases.base import Call, bits

import dynq_numba as dq

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[mmap.mmap] = []


def guarded(array: np.ndarray, at_end: bool = True) -> np.ndarray:
    """A copy whose last byte is the last before an unreadable page, or whose first is the first behind one."""
    array = np.ascontiguousarray(array)
    pages = max(1, -(-array.nbytes // PAGE))
    room = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(room)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for page in (0, pages + 1):
        if _libc.mprotect(ctypes.c_void_p(start + page * PAGE), PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = (pages + 1) * PAGE - array.nbytes if at_end else PAGE
    copy = np.frombuffer(room, np.uint8, array.nbytes, first).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def check(call: Call) -> None:
    """It gives the same from guarded arrays, and into a guarded `out`, as from plain ones."""
    expected = call.run(**call.arrays)
    for at_end, threads in product((True, False), (1, 2) if "threads" in call.takes else (None,)):
        inputs = {name: guarded(array, at_end) for name, array in call.arrays.items()}
        options = {} if threads is None else {"threads": threads}
        if "out" in call.takes:
            options["out"] = guarded(np.full_like(expected, 7), at_end)
        found = call.run(**inputs, **options)
        assert bits(found) == bits(expected), (call.name, [array.shape for array in inputs.values()])
    _kept.clear()


def main() -> int:
    faulthandler.enable()
    for isa in dq.available_isas():
        with dq.force_isa(isa):
            count = 0
            for call in cases.ROWS[sys.argv[1]].edges():
                check(call)
                count += 1
        print(f"{isa}: {count} calls", flush=True)
        assert count
    return 0


if __name__ == "__main__":
    sys.exit(main())
