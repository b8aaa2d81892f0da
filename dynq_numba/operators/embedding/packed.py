"""PackedEmbedding: a quantized table of vectors. Looked up by api.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import Bits
from ...kernels.embedding import reference
from ...runtime import threads
from .backend import Store

#: Rows that fit the 32 bits that kernels read of an id.
MAX_ROWS = 1 << 32


class PackedEmbedding:
    """A table of vectors [V, D] as 8- or 4-bit integers with a scale and a minimum for each row.

    Made by `pack_embedding`. Can be pickled and copied, and compares by value. Other machines can read the pickle.

    Attributes
    ----------
    shape : tuple of int
        (V, D): rows, columns.
    bits : int
        8 or 4.
    scale, minimum : float32 array [V]
        A row is ``qweight * scale + minimum`` (new arrays at each call).
    zero_point : float32 array [V]
        ``-minimum / scale``: where 0 is on a row's grid, not rounded (PyTorch's "float_qparams").
    qweight : uint8 array [V, D]
        The integers, 0 … 255 or 0 … 15 (a new array at each call).
    nbytes : int
        Bytes in memory: V · (8 + ceil(D · bits / 8)), a cache line of words, and some padding.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> table = dq.pack_embedding(np.array([[0.0, 1.0, 3.0]]), bits=4)
    >>> table.shape, table.qweight.tolist(), table.scale.round(1)
    ((1, 3), [[0, 5, 15]], array([0.2], dtype=float32))
    """

    __slots__ = ("__weakref__", "_store", "bits", "shape")
    shape: tuple[int, int]
    bits: int

    def __init__(self, shape: tuple[int, int], bits: int, fill: Callable[[np.ndarray], object] | None = None):
        self.shape, self.bits = shape, bits
        self._store = Store(shape, bits, fill)

    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return reference.unpack_rows(self._store.rows, self.shape[1], self.bits)

    def _descriptor(self) -> np.ndarray:
        """What compiled code gets of this table."""
        threads.ready()
        return self._store.descriptor

    @property
    def scale(self) -> np.ndarray:
        """Step of each row."""
        return self._store.rows[:, :4].copy().view(F32)[:, 0]

    @property
    def minimum(self) -> np.ndarray:
        """Least value of each row."""
        return self._store.rows[:, 4:8].copy().view(F32)[:, 0]

    @property
    def zero_point(self) -> np.ndarray:
        """Where 0 lies on each row's grid: -minimum / scale, a float."""
        with np.errstate(over="ignore"):
            return -self.minimum / self.scale

    @property
    def qweight(self) -> np.ndarray:
        """The integers, whatever their layout."""
        return self._parts()[0]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._store.nbytes

    def dequantize(self) -> np.ndarray:
        """The table that the integers stand for: float32 [V, D], what `embedding` gives for all rows."""
        q, scale, minimum = self._parts()
        result: np.ndarray = q * scale[:, None]
        result += minimum[:, None]
        return result

    def __repr__(self) -> str:
        v, d = self.shape
        return f"PackedEmbedding({v} x {d}, {self.bits} bits, scale and minimum per row, {self.nbytes} bytes)"

    def __eq__(self, other: object) -> bool:
        """The same shape, bits, integers, scales and minimums."""
        if not isinstance(other, PackedEmbedding):
            return NotImplemented
        same = self.shape == other.shape and self.bits == other.bits
        return same and np.array_equal(self._store.rows, other._store.rows)

    def __hash__(self) -> int:
        return hash((self.shape, self.bits))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.shape, self.bits, self._store.rows)


def _restored(shape: tuple[int, int], bits: int, rows: np.ndarray) -> PackedEmbedding:
    packed = PackedEmbedding(shape, bits)
    packed._store.rows[...] = rows
    return packed


def pack_embedding(table: np.ndarray, *, bits: Bits = 8) -> PackedEmbedding:
    """Quantize a table of vectors row by row, once, for any number of lookups.

    Parameters
    ----------
    table : array [V, D] of float16, float32, float64 or bfloat16
        Finite; any strides. It may be a memory map, because only a few rows are read at a time.
    bits : {8, 4}
        Bits of an integer: 256 or 16 values from a row's smallest value to its largest.

    Returns
    -------
    PackedEmbedding

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Asymmetric: ``scale = (max w - min w) / 255`` (8 bits) or ``/ 15`` (4 bits) over the row; 1 if that is 0, and the
    next smaller float if the row's largest value would otherwise overflow. And ``q = clip(rint((w - min w) / scale))``.
    So ``|q · scale + min w - w| ≤ scale / 2``, and float32 rounding (not where scale is denormal).

    Both parameters are float32 and are stored beside the row's integers. A row of 64 columns takes 72 bytes (8 bits) or
    40 (4 bits), at most two cache lines.

    Sources: PyTorch's ``embedding_bag_byte`` and ``embedding_bag_4bit``, whose 4 bits have both in float16 (this saves
    4 bytes a row, but cannot hold every range).

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> table = dq.pack_embedding(np.array([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]]))
    >>> table.shape, table.bits, table.minimum
    ((2, 3), 8, array([0., 5.], dtype=float32))
    >>> dq.embedding(np.array([1, 0]), table).round(2)
    array([[5., 5., 5.],
           [0., 1., 2.]], dtype=float32)
    """
    checks.choice("bits", bits, (8, 4))
    table = checks.plain("table", table, "a numpy array of floats")
    checks.float_array("table", table[:0] if table.ndim else table, ndim=2)
    if len(table) >= MAX_ROWS:
        raise ValueError(f"table must have fewer than 2^32 rows; got {len(table)}")
    packed = PackedEmbedding(table.shape, bits)
    reference.pack_rows(table, bits, packed._store.rows, _finite)
    return packed


def _finite(part: np.ndarray) -> np.ndarray:
    """Rows of the table as float32, whose ranges float32 can hold."""
    rows = checks.float_array("table", part)
    with np.errstate(all="ignore"):
        fine = np.isfinite(np.ptp(rows, axis=1)).all() if rows.size else True
    if not fine:
        raise ValueError("table must be finite, and max - min of each row, too; got NaN, an infinity, or more")
    return rows
