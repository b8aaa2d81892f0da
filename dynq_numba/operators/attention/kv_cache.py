"""The keys and values that a decoder keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import empty

from ...arguments import checks
from ...arguments.checks import F32


class KVCache:
    """Keys and values of the positions so far, for `attention` of the next positions.

    Parameters
    ----------
    batch, heads, capacity, dim : int
        `heads` is the number of key heads (Hkv). Memory for `capacity` positions is allocated at once.
    value_dim : int, optional
        Columns of v, if not `dim`.

    Attributes
    ----------
    length : int
        Number of positions in the cache. You may set it to a smaller number, to remove the last positions.
    keys, values : float32 arrays [batch, heads, length, dim]
        Views.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer of 0 or more.

    Notes
    -----
    It takes 4 · batch · heads · capacity · (dim + value_dim) bytes, and keeps what it is given, exactly, in float32.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> cache = dq.KVCache(1, 2, 100, 8)
    >>> step = np.ones((1, 2, 1, 8), np.float32)
    >>> for _ in range(3):
    ...     y = dq.attention(step, *cache.append(step, step))
    >>> cache.length, cache.keys.shape
    (3, (1, 2, 3, 8))
    """

    def __init__(self, batch: int, heads: int, capacity: int, dim: int, *, value_dim: int | None = None):
        value_dim = dim if value_dim is None else value_dim
        sizes = {"batch": batch, "heads": heads, "capacity": capacity, "dim": dim, "value_dim": value_dim}
        for name, size in sizes.items():
            if checks.integer(name, size) < 0:
                raise ValueError(f"{name} must be 0 or more; got {size}")
        self._keys = empty((batch, heads, capacity, dim), F32)
        self._values = empty((batch, heads, capacity, value_dim), F32)
        self._length = 0

    @property
    def length(self) -> int:
        """Number of positions in the cache. You may set it to a smaller number, to remove the last positions."""
        return self._length

    @length.setter
    def length(self, length: int) -> None:
        length = checks.integer("length", length)
        if not 0 <= length <= self._length:
            raise ValueError(f"length must be from 0 to {self._length}, the positions held; got {length}")
        self._length = length

    @property
    def keys(self) -> np.ndarray:
        """The keys so far: a view [batch, heads, length, dim]."""
        return self._keys[:, :, : self._length]

    @property
    def values(self) -> np.ndarray:
        """The values so far: a view [batch, heads, length, value_dim]."""
        return self._values[:, :, : self._length]

    def append(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add k [batch, heads, S, dim] and v [batch, heads, S, value_dim]; return `keys` and `values`.

        Any floats and strides. If batch is 1, k and v may lack that axis.

        Raises
        ------
        TypeError, ValueError
            If k or v does not fit, or there is no room for S more positions. The cache then stays as it was.
        """
        k, v = checks.float_array("k", k), checks.float_array("v", v)
        for name, array, room in (("k", k, self._keys), ("v", v, self._values)):
            wanted: Sequence[int] = room.shape
            shape = array.shape if array.ndim == 4 else (1, *array.shape)
            if len(shape) != 4 or (shape[0], shape[1], shape[3]) != (wanted[0], wanted[1], wanted[3]):
                text = f"[{wanted[0]}, {wanted[1]}, S, {wanted[3]}]"
                raise ValueError(f"{name} must have shape {text}; got {array.shape}")
        if k.shape[-2] != v.shape[-2]:
            raise ValueError(f"v must have k's {k.shape[-2]} positions; got {v.shape}")
        end = self._length + k.shape[-2]
        if end > self._keys.shape[2]:
            free = self._keys.shape[2] - self._length
            raise ValueError(f"k must have at most {free} positions, the room left in the cache; got {k.shape}")
        self._keys[:, :, self._length : end] = k
        self._values[:, :, self._length : end] = v
        self._length = end
        return self.keys, self.values


