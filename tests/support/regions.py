"""Regions as tests call them."""

from __future__ import annotations

import numpy as np

from dynq_numba.kernels.region import call
from dynq_numba.kernels.region.reference import Region
from dynq_numba.runtime import isa as sets
from dynq_numba.runtime import threads


def run(region: Region, arrays, isa: str, threads_wanted: int = 1, outs=None) -> list[np.ndarray]:
    """A region's results, as fresh arrays unless `outs` are given."""
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    if outs is None:
        outs = [np.empty(shape, kind) for kind in region.operands[len(region.leaves) :]]
    threads.ready(threads_wanted)
    call.run_arrays(region, sets._lookup(isa, "isa"), arrays, outs, threads.POOL, threads_wanted)
    return outs


def of(name: str, *kinds, result: str | None = None, constants=()) -> Region:
    """A region of one operator, its leaves first, then constants."""
    operands = (*range(len(kinds)), *constants)
    return Region(tuple(kinds), ((name, operands, result or kinds[-1]),), (len(kinds),))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same type, shape and bits; any NaN is the same as another."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    whole = np.ascontiguousarray(a).view(np.uint8) == np.ascontiguousarray(b).view(np.uint8)
    equal = whole.reshape(*a.shape, a.itemsize).all(-1) if a.ndim else whole.all()
    return bool((equal | ((a != a) & (b != b))).all())


FLOATS = [
    0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, -3, 7.75, 1e-45, -1e-45, 1.1754944e-38, -1.1754942e-38, 1e-20, -1e-20,
    1e20,
    2.0**23 + 1, 2.0**24, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 127.6, -128.7, 255.9, 88.8, -104.5, 3.4028235e38,
    -3.4028235e38, np.inf, -np.inf, np.nan,
]  # fmt: skip


def special(kind: str) -> np.ndarray:
    """Values of a type where something may go wrong."""
    dtype = np.dtype(kind)
    if kind == "bool":
        return np.array([False, True])
    if dtype.kind == "f":
        more = [5e-324, 1e300, -1.7e308, 1e-310] if kind == "float64" else []
        return np.array(FLOATS + more, dtype)
    limits = np.iinfo(dtype)
    near = [limits.min, limits.min + 1, limits.max, limits.max - 1, 0, 1, 2, 3, 7, 100]
    return np.array(near + ([-1, -2, -3, -7] if dtype.kind == "i" else [200]), dtype)


def pairs(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Every special value with every other."""
    values = special(kind)
    return np.repeat(values, values.size), np.tile(values, values.size)
