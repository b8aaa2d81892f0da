"""A quantized weight in the panels of one instruction set, and the descriptor that leads a worker to it."""

from __future__ import annotations

import numpy as np
from numba import types

from ..kernels import context as at
from ..kernels import call, pack
from ..kernels.blocking import rows_for_two
from ..kernels.emit.intrinsics import max_rows
from ..kernels.emit.isa import InstructionSet
from ..kernels.emit.tile import Scheme
from ..kernels.jit import entry
from ..kernels.memory import aligned_zeros
from ..kernels.view import ADDRESS, VIEW
from . import cpu, registry, threads
from .signatures import BYTES, FLOATS_2D, INT8_2D, WORD

_LINEAR = (VIEW, VIEW, VIEW, ADDRESS, WORD, WORD)
_PACK = (INT8_2D, FLOATS_2D, WORD, WORD, WORD, WORD, WORD, BYTES)
_UNPACK = (BYTES, WORD, WORD, WORD, WORD, WORD, INT8_2D)
_COLUMNS = (INT8_2D, FLOATS_2D, types.Array(types.float32, 1, "A"), WORD, WORD, types.Array(types.int32, 3, "C"))


class Layout:
    """q int8 [N, K], scales float32 [N, groups] and bias float32 [N] packed for `isa`.

    Attributes
    ----------
    descriptor : int64 array
        See kernels/context.py. A view of the block that holds the panels, so it outlives this object safely.
    run : callable
        kernels.call.entry: run(x, out, residual, descriptor, finish, threads) on float32 matrices.
    n : int
        Columns of a result.
    rows_for_two : int
        Rows from which a call by default uses helper threads.
    nbytes : int
        Panels with their padding, the epilogue's column words, and the descriptor.
    """

    def __init__(
        self,
        q: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray,
        *,
        bits: int,
        group: int,
        per_tensor: bool,
        isa: InstructionSet,
    ):
        n, k = q.shape
        long = k > pack.MAX_K and not group
        self._bits = 8 if long else bits  # there is no 4-bit tile for a long K
        scheme = Scheme(self._bits, group)
        worker = registry.worker_address("linear_long" if long else "linear", isa, scheme)
        isa = isa if long else isa.form(group)
        self._isa, self._group = isa, group
        self._stride = pack.panel_bytes(k, isa.columns, self._bits, group)
        panels = -(-n // isa.columns)
        # One block for all: inside jitted code only the descriptor is left, and it keeps alive what it points to.
        ends = np.cumsum([panels * self._stride, panels * 12 * isa.columns, 8 * at.DESCRIPTOR_WORDS])
        room = aligned_zeros(int(ends[-1]))
        self._panels, columns, words = np.split(room, ends[:-1])
        self._columns = columns.view(np.int32).reshape(panels, 3, isa.columns)
        self.descriptor = words = words.view(np.int64)
        self.nbytes = room.nbytes
        entry(pack.pack_panels, _PACK)(q, scales, *self._form(), self._panels)
        entry(pack.column_words, _COLUMNS)(q, scales, bias, self._bits, group, self._columns)

        words[at.WORKER] = worker
        words[at.POOL] = threads.POOL
        words[at.N], words[at.K] = n, k
        words[at.WORDS] = pack.padded_k(k, group) // isa.k_per_word
        self.run = entry(call.entry, _LINEAR)
        self.n = n
        self.rows_for_two = rows_for_two(n, k, panels * self._stride)
        words[at.WEIGHTS] = self._panels.ctypes.data
        words[at.PANEL_STRIDE] = self._stride
        words[at.COLUMNS] = self._columns.ctypes.data
        words[at.NR], words[at.MR] = isa.columns, max_rows(isa, scheme)
        words[at.L2_BYTES] = cpu.l2_bytes()
        words[at.PER_TENSOR] = per_tensor

    def _form(self) -> tuple[int, ...]:
        return self._isa.columns, self._isa.k_per_word, self._bits, self._group, self._stride

    def unpack(self, shape: tuple[int, int]) -> np.ndarray:
        """q again."""
        q = np.empty(shape, np.int8)
        entry(pack.unpack_panels, _UNPACK)(self._panels, *self._form(), q)
        return q
