"""Rows of x as row panels: how many rows a panel has, where it is, how its rows become bytes.

    vectors             [words][R] of 4-byte words, heights that differ by at most one             (gemm/tile.py)
    matrix registers    [tiles of 16 rows][steps][16][64] bytes, as many full panels as possible: a tile of few rows
                        takes as long as a full one                                               (gemm/matrix_tile.py)

A row of 16 bits is two rows of bytes, high and low: next to each other, or on matrix registers in two tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ..base.jit import kernel
from ..base.memory import ALIGN, offset
from ..gemm.intrinsics import tile_row
from ..gemm.tile import Scheme, max_rows
from ..isa.base import ROW_BYTES, ROWS, TILE_BYTES, InstructionSet
from ..quantize.emit import LANES
from ..quantize.intrinsics import convert_rows
from ..quantize.qparams import together
from ..threads.partition import share


class RowPanels(NamedTuple):
    #: ``row_words(k)``: words that a packed row takes.
    row_words: Callable
    #: ``packed_bytes(rows, k)``: bytes that so many packed rows take, with the way to a cache line where needed.
    packed_bytes: Callable
    #: ``count_panels(on_matrix, rows)``: row panels of `rows` rows.
    count_panels: Callable
    #: ``row_panel(on_matrix, p, row_panels, rows)``: (first row, height) of panel p.
    row_panel: Callable
    #: ``pack_rows(on_matrix, x, x_stride, rows, k, scales, zero_points, panel)``: fill one row panel.
    pack_rows: Callable
    #: ``on_matrix(rows, n, k)``: whether a product of this size goes through matrix registers.
    on_matrix: Callable


#: Where matrix registers gain, measured on an Emerald Rapids: from so many values of k, and from so many rows with so
#: many multiply-adds.
LEAST_K, LEAST_ROWS, LEAST_MACS = 128, (3, 5), (1_200_000, 190_000)


@cache
def row_panels(isa: InstructionSet, scheme: Scheme) -> RowPanels:
    """The geometry of an instruction set and weight scheme."""
    planes = scheme.planes
    tallest, matrix, most = max_rows(isa, scheme), isa.matrix_rows > 0, isa.matrix_rows // planes
    block = ROW_BYTES if matrix else max(scheme.group, LANES)
    words_of_block = block // isa.k_per_word * isa.parts * planes
    variant = f"{scheme.name}__{isa.name}"

    @kernel(variant=variant)
    def row_words(k):
        """What `pack_rows` writes, or whole groups."""
        return max(1, (k + block - 1) // block) * words_of_block

    @kernel(variant=variant)
    def packed_bytes(rows, k):
        if matrix:
            return 4 * row_words(k) * ((rows + ROWS - 1) // ROWS * ROWS) + ALIGN
        return 4 * row_words(k) * rows

    @kernel(variant=variant)
    def count_panels(on_matrix, rows):
        if matrix and on_matrix:
            return (rows + most - 1) // most
        return (rows + tallest - 1) // tallest

    @kernel(variant=variant)
    def row_panel(on_matrix, p, row_panels, rows):
        if matrix and on_matrix:
            return p * most, min(most, rows - p * most)
        return share(p, row_panels, rows)

    @kernel(variant=variant)
    def on_matrix(rows, n, k):
        if not matrix or k < LEAST_K or rows < LEAST_ROWS[0]:
            return False
        return rows * n * k >= (LEAST_MACS[1] if rows >= LEAST_ROWS[1] else LEAST_MACS[0])

    return RowPanels(row_words, packed_bytes, count_panels, row_panel, row_packer(isa, planes), on_matrix)


@cache
def row_packer(isa: InstructionSet, planes: int = 1) -> Callable:
    """`RowPanels.pack_rows`."""
    convert, matrix = convert_rows(isa, planes), isa.matrix_rows > 0
    convert_row = tile_row(isa, planes)
    variant = f"{'x16_' if planes == 2 else ''}{isa.name}"

    @kernel(variant=variant)
    def pack_words(x, x_stride, rows, k, scales, zero_points, panel):
        r = 0
        while r < rows:
            count = together(planes * (rows - r)) // planes
            convert(
                count, offset(x, r * x_stride), x_stride, k,
                offset(scales, 4 * r), offset(zero_points, 4 * r), offset(panel, 4 * planes * r), planes * rows,
            )  # fmt: skip
            r += count

    @kernel(variant=variant)
    def pack_rows(on_matrix, x, x_stride, rows, k, scales, zero_points, panel):
        if not (matrix and on_matrix):
            pack_words(x, x_stride, rows, k, scales, zero_points, panel)
            return
        tile = (k + ROW_BYTES - 1) // ROW_BYTES * TILE_BYTES
        for r in range(rows):
            target = offset(panel, r // ROWS * tile + r % ROWS * ROW_BYTES)
            convert_row(offset(x, r * x_stride), k, offset(scales, 4 * r), offset(zero_points, 4 * r), target)

    return pack_rows
