"""embedding, embedding_bag: rows of a quantized table, looked up and added up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import empty

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import BagMode
from ...arguments.matrices import delivered, target_of
from .backend import FINE, OPERATIONS, lookup, reduce_bags
from .packed import PackedEmbedding

I64, I32 = np.dtype(np.int64), np.dtype(np.int32)


def embedding(
    ids: np.ndarray, packed: PackedEmbedding, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """Rows of a quantized table as float32: float32(q · scale) + minimum.

    Parameters
    ----------
    ids : int32 or int64 array of any shape and strides
        Rows, from 0 to V - 1.
    packed : PackedEmbedding
        From `pack_embedding`.
    out : float32 array [*ids.shape, D], optional
        Written and returned; its last axis must be contiguous. It may overlap ids.
    threads : int, optional
        The largest number of threads. By default as many as pay for the work, at most `get_num_threads()`.

    Returns
    -------
    float32 array [*ids.shape, D]

    Raises
    ------
    IndexError
        If an id is out of range. Names its position and value. Raised before anything is written.
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    |result - table[ids]| ≤ scale / 2, and two float32 roundings (see `pack_embedding`). The same bits on every
    instruction set and for every number of threads. Do not change ids during the call: they are checked only once.
    Source: PyTorch's ``torch.nn.functional.embedding``.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> table = dq.pack_embedding(np.arange(6.0).reshape(3, 2), bits=4)
    >>> dq.embedding(np.array([[2, 0]]), table).round(2)
    array([[[4., 5.],
            [0., 1.]]], dtype=float32)
    """
    flat, count = _ids(ids, packed), 0 if threads is None else checks.thread_count("threads", threads)
    shape = (*ids.shape, packed.shape[1])
    if out is not None:
        checks.out_array(out, F32, shape)
    target = target_of(out, (flat.size, shape[-1]), ids)
    bad = lookup(packed._store, flat, target, count)
    if bad != FINE:
        raise _outside(ids, flat, bad, packed)
    return target.reshape(shape) if out is None else delivered(target, out)


def embedding_bag(
    ids: np.ndarray,
    offsets: np.ndarray | None,
    packed: PackedEmbedding,
    mode: BagMode = "sum",
    weights: np.ndarray | None = None,
    *,
    include_last_offset: bool = False,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Sum, mean or maximum of rows of a quantized table over bags of ids, without their float32 rows in memory.

    Parameters
    ----------
    ids : int32 or int64 array [n], or [B, L] without offsets
        Rows, from 0 to V - 1; any strides.
    offsets : int32 or int64 array [B], or None
        Where each bag begins in ids: the first is 0, they ascend, and none is above n. The last bag ends where ids end.
        None: each row of ids is a bag.
    packed : PackedEmbedding
        From `pack_embedding`.
    mode : {"sum", "mean", "max"}
        How the rows of a bag are combined.
    weights : array of floats, shape of ids, optional
        A factor for each id, with mode "sum".
    include_last_offset : bool
        True: offsets has one more entry, where the last bag ends. Ids after it are checked but not used.
    out : float32 array [B, D], optional
        Written and returned; its last axis must be contiguous. It may overlap ids, offsets or weights.
    threads : int, optional
        The largest number of threads. By default as many as pay for the work, at most `get_num_threads()`.

    Returns
    -------
    float32 array [B, D]
        An empty bag gives zeros, with "max" as well.

    Raises
    ------
    IndexError
        If an id is out of range. Names its position and value. Raised before anything is written.
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    In the order of the ids, in float32: ``t = fma(q, weight · scale, t)``, ``b = fma(weight, minimum, b)``. The result
    is (t + b) · (1, or for the mean 1 / n). If that is not finite, it is the sum of weight · (q · scale + minimum)
    in float64, rounded at the end. So the sum is right even if parts of it are too large for float32. A bag of one id
    has the bits of `embedding`. All results have the same bits on every instruction set and for every number of
    threads. One thread adds up a bag.

    With u = 2^-24, for n ids, over n for the mean, about
    ``|result - Σ weight · (q · scale + minimum)| ≤ (n + 2) · u · Σ |weight| · (q · scale + |minimum|)``.

    Source: PyTorch's ``torch.nn.functional.embedding_bag``.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> table = dq.pack_embedding(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 9.0]]))
    >>> dq.embedding_bag(np.array([0, 1, 2, 2]), np.array([0, 2, 2]), table)
    array([[ 2.,  4.],
           [ 0.,  0.],
           [ 8., 18.]], dtype=float32)
    """
    flat, count = _ids(ids, packed), 0 if threads is None else checks.thread_count("threads", threads)
    if type(mode) is not str or mode not in OPERATIONS:
        checks.choice("mode", mode, OPERATIONS)
    ends = _ends(ids, flat.size, offsets, include_last_offset)
    values = None if weights is None else _weights(weights, ids, mode)
    shape = (ends.size - 1, packed.shape[1])
    if out is not None:
        checks.out_array(out, F32, shape)
    target = target_of(out, shape, ids, ends, weights)
    bad = reduce_bags(packed._store, flat, ends, mode, values, target, count)
    if bad < FINE:
        place, n = FINE - 1 - bad, flat.size
        raise ValueError(f"offsets must begin with 0 and ascend to at most {n}; offsets[{place}] is {ends[place]}")
    if bad != FINE:
        raise _outside(ids, flat, bad, packed)
    return delivered(target, out)


def _ids(ids: Any, packed: Any) -> np.ndarray:
    """ids as a contiguous vector."""
    if type(packed) is not PackedEmbedding:
        raise TypeError(f"packed must be a PackedEmbedding from pack_embedding; got {checks.describe(packed)}")
    return np.ascontiguousarray(_integers("ids", ids, "an int32 or int64 numpy array")).reshape(-1)


def _integers(name: str, value: Any, what: str) -> np.ndarray:
    array = checks.plain(name, value, what)
    if array.dtype == I64 or array.dtype == I32:
        return array
    native = array.dtype.newbyteorder("=")
    if native not in (I64, I32):
        raise TypeError(f"{name} must be {what}; got {checks.describe(value)}")
    return array.astype(native)


def _ends(ids: np.ndarray, n: int, offsets: Any, last: Any) -> np.ndarray:
    """int64 [B + 1]: where bags begin, and where the last one ends. Their order is checked by who uses them."""
    if last is not False and last is not True:
        raise TypeError(f"include_last_offset must be True or False; got {checks.describe(last)}")
    if offsets is None:
        if ids.ndim != 2 or last:
            raise ValueError(f"ids must have 2 dimensions where offsets is None; got {checks.describe(ids)}")
        return np.arange(ids.shape[0] + 1, dtype=np.int64) * ids.shape[1]
    if ids.ndim != 1:
        raise ValueError(f"ids must have 1 dimension beside offsets; got {checks.describe(ids)}")
    offsets = _integers("offsets", offsets, "an int32 or int64 numpy array, or None")
    if offsets.ndim != 1 or (last and not offsets.size):
        least = ", at least 1 value with include_last_offset" if last else ""
        raise ValueError(f"offsets must have 1 dimension{least}; got {checks.describe(offsets)}")
    if last:
        return np.ascontiguousarray(offsets, I64)
    if not offsets.size and n:
        raise ValueError(f"offsets must begin with 0 where there are ids; got none, and {n} ids")
    ends = empty(offsets.size + 1, I64)
    ends[:-1] = offsets
    ends[-1] = n if offsets.size else 0
    return ends


def _weights(weights: Any, ids: np.ndarray, mode: str) -> np.ndarray:
    """float32 [n], contiguous."""
    if mode != "sum":
        raise ValueError(f'weights go with mode="sum"; got mode={mode!r}')
    values = checks.float_array("weights", weights)
    if values.shape != ids.shape:
        raise ValueError(f"weights must have the shape of ids, {ids.shape}; got {values.shape}")
    return np.ascontiguousarray(values).reshape(-1)


def _outside(ids: np.ndarray, flat: np.ndarray, bad: int, packed: PackedEmbedding) -> IndexError:
    place = ", ".join(map(str, np.unravel_index(bad, ids.shape)))
    return IndexError(f"ids must be from 0 to {packed.shape[0] - 1}; ids[{place}] is {flat[bad]}")
