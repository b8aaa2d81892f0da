"""A quantized weight in the panels of one instruction set, and the descriptor that leads a worker to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from ...files.weight_cache import packed
from ...kernels.base.jit import entry
from ...kernels.gemm import pack
from ...kernels.gemm.tile import Scheme, max_rows
from ...kernels.isa.base import InstructionSet
from ...kernels.linear import call, outliers, vectorcall
from ...kernels.linear.context import WEIGHT_BYTES, Weight
from ...kernels.objects.view import ADDRESS, NUMBER, VIEW
from ...kernels.threads.partition import rows_for_two, strip_panels
from ...runtime import cpu, kernel_table, threads
from ...runtime.builtin import install
from ...runtime.signatures import BYTES, BYTES_2D, FLOATS_2D, INT8_2D, WORD

_LINEAR = (VIEW, VIEW, VIEW, ADDRESS, NUMBER, WORD)
_FORM = (WORD,) * 8
_PACK = (INT8_2D, FLOATS_2D, BYTES_2D, *_FORM, BYTES)
_UNPACK = (BYTES, *_FORM, INT8_2D, FLOATS_2D, BYTES_2D)
_COLUMNS = (INT8_2D, FLOATS_2D, types.Array(types.float32, 1, "A"), WORD, WORD, types.Array(types.int32, 3, "C"))


def is_bfloat16(scales: np.ndarray) -> bool:
    """Whether all of float32 scales are bfloat16: those that `pack_linear` makes of groups are."""
    return not (np.ascontiguousarray(scales).view(np.uint32) & 0xFFFF).any()


class Later:
    """An array of known shape, made when it is wanted: packed weights may be there already (files/weight_cache.py)."""

    def __init__(self, shape: tuple[int, int], make: Callable[[], np.ndarray]) -> None:
        self.shape, self._make = shape, make

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._make()


class Layout:
    """q int8 [N, K], scales float32 [N, groups], zero_point uint8 [N, groups] and bias float32 [N] packed for `isa`.

    q is what multiplies the scale, its zero point already subtracted; an array, or what becomes one when it is packed
    (`Later`). Scales and zero points of groups are in the
    panels, and nowhere else. `columns` of K stay float32, with the weights `floats` [columns, N], and q is 0 there.

    Attributes
    ----------
    descriptor : int64 array
        A Weight (kernels/linear/context.py). A view of the block that holds the panels, so it outlives this object.
    address : int
        Where the descriptor is.
    run : callable, or None until `prepare`
        kernels.call.entry: run(x, out, residual, descriptor, post_ops, threads) on float32 matrices.
    n : int
        Columns of a result.
    rows_for_two : int
        Rows from which a call by default uses helper threads.
    nbytes : int
        Panels with their padding, the epilogue's column words, the descriptor, and outlier columns.
    """

    def __init__(
        self,
        q: np.ndarray | Later,
        scales: np.ndarray,
        bias: np.ndarray,
        zero_point: np.ndarray | None,
        *,
        bits: int,
        group: int,
        per_tensor: bool,
        isa: InstructionSet,
        rotate: int = 0,
        columns: tuple[int, ...] = (),
        floats: np.ndarray | None = None,
        x_bits: int = 8,
    ):
        n, k = q.shape
        long = k > pack.MAX_K and not group
        self._bits = 8 if long else bits  # there is no 4-bit tile for a long K
        self._group, self._zero_points = group, zero_point is not None
        scheme = Scheme(self._bits, group, self._zero_points, x_bits, bool(group) and not is_bfloat16(scales))
        self._scale_bytes = scheme.scale_bytes
        operation = "linear_long" if long else "linear"
        self._worker = operation, isa, scheme
        self._isa = isa = isa.form(operation, group, self._bits)
        self._stride = pack.panel_bytes(
            k, isa.columns, self._bits, group, self._zero_points, isa.k_align, self._scale_bytes
        )
        panels = -(-n // isa.columns)
        # One block for all: inside jitted code only the descriptor is left, and it keeps alive what it points to.
        block = outliers.block_bytes(columns, panels * isa.columns, k)
        ends = np.cumsum([*block, panels * self._stride, panels * 12 * isa.columns, WEIGHT_BYTES])
        zero = np.empty((0, 0), np.uint8) if zero_point is None else zero_point

        def fill(room: np.ndarray) -> None:
            *_, into, words, _ = np.split(room, ends[:-1])
            integers = np.asarray(q)
            if self._bits == 8 and not group:
                pack.pack_words(integers, isa.columns, isa.slab or isa.columns, isa.k_per_word, self._stride, into)
            else:
                entry(pack.pack_panels, _PACK)(integers, scales, zero, *self._form(), into)
            words = words.view(np.int32).reshape(panels, 3, isa.columns)
            entry(pack.column_words, _COLUMNS)(integers, scales, bias, self._bits, group, words)

        room = packed(int(ends[-1]), ("linear", self._worker[0], isa.name, self._form(), q.shape, columns), fill)
        *parts, self._panels, column_words, descriptor = np.split(room, ends[:-1])
        self._columns = column_words.view(np.int32).reshape(panels, 3, isa.columns)
        self.descriptor = words = descriptor.view(np.int64)
        self.nbytes = room.nbytes
        self.address = words.ctypes.data
        self.run: Any = None
        self.n = n
        self.rows_for_two = rows_for_two(n, k * scheme.planes, panels * self._stride)
        Weight.fill(
            words, pool=threads.POOL, n=n, k=k, words=pack.multiplied_k(k, group) // isa.k_per_word,
            weights=self._panels.ctypes.data, panel_stride=self._stride, columns=self._columns.ctypes.data,
            nr=isa.columns, mr=max_rows(isa, scheme), panels=panels,
            strip_panels=strip_panels(panels, self._stride, cpu.l2_bytes()), per_tensor=per_tensor, rotation=rotate,
            x_bits=x_bits,
        )  # fmt: skip
        if columns and floats is not None:
            Weight.fill(words, outliers=outliers.fill_block(parts, columns, floats))
        self._outliers, self._floats = len(columns), parts[0]

    def prepare_worker(self) -> None:
        """Compile what multiplies, which is all that steps of programs need."""
        if not self.descriptor[Weight.worker]:
            Weight.fill(self.descriptor, worker=kernel_table.worker_address(*self._worker))

    def prepare(self) -> None:
        """Compile what a call needs. Not when packing: to save a weight, say, needs none of it."""
        if self.run is None:
            self.prepare_worker()
            install("linear", vectorcall.linear_vectorcall)
            self.run = entry(call.entry, _LINEAR)

    @property
    def floats(self) -> np.ndarray:
        """The weights of the outlier columns, float32 [columns, N]."""
        return outliers.floats_of(self._floats, self._outliers, self.n)

    def _form(self) -> tuple[int, ...]:
        isa = self._isa
        slab, zero_points = isa.slab or isa.columns, int(self._zero_points)
        form = isa.columns, slab, isa.k_per_word, self._bits, self._group
        return *form, zero_points, self._scale_bytes, self._stride

    def unpack(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """q, scales and zero points again; None for what is not in the panels."""
        groups = max(1, -(-shape[1] // self._group)) if self._group else 0
        q, scales = np.empty(shape, np.int8), np.empty((shape[0], groups), np.float32)
        zero_point = np.empty(scales.shape if self._zero_points else (0, 0), np.uint8)
        entry(pack.unpack_panels, _UNPACK)(self._panels, *self._form(), q, scales, zero_point)
        return q, scales if self._group else None, zero_point if self._zero_points else None
