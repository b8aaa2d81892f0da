"""A packed table's memory, and lookups: the kernels, or with NUMBA_DISABLE_JIT=1 their numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ...files.weight_cache import packed
from ...kernels.base.jit import entry
from ...kernels.base.memory import ALIGN
from ...kernels.embedding import call as kernels
from ...kernels.embedding import reference
from ...kernels.embedding.context import Table
from ...kernels.embedding.emit import SIZES
from ...kernels.gemm.tile import Scheme
from ...kernels.objects.view import ADDRESS, NUMBER, VIEW
from ...kernels.quantize.emit import LANES
from ...runtime import cpu, isa, kernel_table, threads
from ...runtime.backend import choose
from ...runtime.memory import aligned_zeros
from ...runtime.signatures import WORD

#: Bytes after the last row that the last block of columns may read.
SLACK = LANES * SIZES[-1]
#: Modes of a bag, and the operation (see runtime/kernel_table.py) that does them.
OPERATIONS = {"sum": "embedding_bag", "mean": "embedding_bag", "max": "embedding_bag_max"}
ONE = np.ones(1, np.float32)
FINE = kernels.FINE


class Store:
    """Rows of a quantized table in one block of memory with the descriptor that leads kernels to them.

    Attributes
    ----------
    rows : uint8 array [V, row_bytes]
        As `fill` has made them; without it to be filled by the maker of this object (reference.pack_rows).
    descriptor : int64 array
        A view of the block, so it keeps alive what it points to.
    row : int
        Its bytes.
    nbytes : int
    """

    def __init__(self, shape: tuple[int, int], bits: int, fill: Callable[[np.ndarray], object] | None = None):
        count, columns = shape
        self.columns, self.bits = columns, bits
        self.row = row = reference.row_bytes(columns, bits)
        head = ALIGN

        def rows_of(room: np.ndarray) -> np.ndarray:
            return room[head : head + count * row].reshape(count, row)

        size = head + count * row + SLACK
        if fill is None:
            room = aligned_zeros(size)
        else:
            room = packed(size, ("embedding", shape, bits), lambda room: fill(rows_of(room)))
        self.rows = rows_of(room)
        self.descriptor = words = room[:head].view(np.int64)
        self.nbytes = room.nbytes
        Table.fill(
            words, table=room.ctypes.data + head, row_bytes=row, far=self.rows.nbytes > cpu.l2_bytes() // 2,
            rows=count, columns=columns, pool=threads.POOL,
        )  # fmt: skip


_LOOKUP = (ADDRESS, WORD, WORD, ADDRESS, WORD, ADDRESS, WORD, WORD, VIEW, ADDRESS, NUMBER, WORD)


@cache
def _kernel(operation: str, bits: int, name: str) -> tuple[Callable, int]:
    """The entry, and the worker's address for the instruction set in force, by its name: which is hashed faster."""
    return entry(kernels.lookup_entry, _LOOKUP), kernel_table.worker_address(operation, isa.active(), Scheme(bits))


def _ready(store: Store, ids: np.ndarray, out: np.ndarray, count: int) -> None:
    """See that helpers are there for a call that may want them."""
    if count > 1 or (count == 0 and ids.size * store.row + out.nbytes >= kernels.FOR_TWO):
        threads.ready(count)


def _lookup_compiled(store: Store, ids: np.ndarray, out: np.ndarray, count: int) -> int:
    """Fill float32 out [n, D] from contiguous ids [n], `count` threads (0 chooses).

    Gives FINE, or the position of the first bad id: then nothing is written.
    """
    if count != 1:
        _ready(store, ids, out, count)
    run, worker = _kernel("embedding", store.bits, isa.active().name)
    bad: int = run(ids, ids.itemsize, ids.size, ids, -1, ONE, 0, 0, out, store.descriptor, worker, count)
    return bad


def _reduce_compiled(
    store: Store, ids: np.ndarray, ends: np.ndarray, mode: str, weights: np.ndarray | None, out: np.ndarray, count: int
) -> int:  # fmt: skip
    """Fill float32 out [B, D] from ids [n], int64 ends [B + 1] and contiguous float32 weights [n].

    Gives FINE, or, having written nothing, the position of the first bad id, or FINE - 1 - that of the first end that
    descends, is not 0 at the start or is beyond n.
    """
    if count != 1:
        _ready(store, ids, out, count)
    run, worker = _kernel(OPERATIONS[mode], store.bits, isa.active().name)
    values, stride = (ONE, 0) if weights is None else (weights, 4)
    mean, bags = mode == "mean", len(out)
    bad: int = run(
        ids, ids.itemsize, ids.size, ends, bags, values, stride, mean, out, store.descriptor, worker, count
    )  # fmt: skip
    return bad


def _lookup_reference(store: Store, ids: np.ndarray, out: np.ndarray, count: int) -> int:
    bad = (ids < 0) | (ids >= len(store.rows))
    if bad.any():
        return int(bad.argmax())
    out[...] = reference.embedding(store.rows, store.columns, store.bits, ids)
    return FINE


def _reduce_reference(
    store: Store,
    ids: np.ndarray,
    ends: np.ndarray,
    mode: str,
    weights: np.ndarray | None,
    out: np.ndarray,
    count: int,
) -> int:
    wrong = (np.diff(ends, prepend=0) < 0) | (ends > len(ids))
    wrong[0] |= ends[0] != 0
    if wrong.any():
        return FINE - 1 - int(wrong.argmax())
    bad = (ids < 0) | (ids >= len(store.rows))
    if bad.any():
        return int(bad.argmax())
    out[...] = reference.embedding_bag(store.rows, store.columns, store.bits, ids, ends, mode, weights)
    return FINE


lookup = choose(_lookup_compiled, _lookup_reference)
reduce_bags = choose(_reduce_compiled, _reduce_reference)
