"""embedding and embedding_bag inside compiled code (see operators/linear/njit.py).

A PackedEmbedding becomes its descriptor, and a type that says its bits; the worker of the instruction set that is in
force at compilation is linked into the user's module. `mode` and `include_last_offset` must be literals, `out` must be
C contiguous, weights are float32 or float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, keep
from ...kernels.embedding import call as kernels
from ...kernels.embedding.context import Table
from ...kernels.gemm.tile import Scheme
from ...kernels.objects import arrays
from ...njit.arguments import absent, address_of, float_array, literal, out_array, result_function, threads_function
from ...njit.overloads import overload_of
from ...njit.types import PackedType
from ...runtime import isa, kernel_table
from . import api as embeddings
from .backend import OPERATIONS
from .packed import PackedEmbedding

FINE, ROWS, COLUMNS = kernels.FINE, Table.rows, Table.columns


class PackedEmbeddingType(PackedType):
    """numba's view of a PackedEmbedding of some bits."""

    packed = (PackedEmbedding,)

    def __init__(self, bits: int) -> None:
        super().__init__(f"PackedEmbedding{bits}")
        self.bits = bits

    @classmethod
    def of(cls, value: PackedEmbedding, context: Any) -> PackedEmbeddingType:
        return cls(value.bits)


def _prepared(packed: Any, ids: Any, operation: str) -> Any:
    """The worker's address as an intrinsic, after checks of types."""
    if not isinstance(packed, PackedEmbeddingType):
        raise TypingError(f"packed must be a PackedEmbedding from pack_embedding; got {packed}")
    if not (isinstance(ids, types.Array) and ids.dtype in (types.int32, types.int64)):
        raise TypingError(f"ids must be an array of int32 or int64 in compiled code; got {ids}")
    kernel = kernel_table.kernel_for(operation, isa.active(), Scheme(packed.bits))
    return address_of(kernel.worker(), WORKER_SIGNATURE)


@overload_of(embeddings.embedding, part=False)
def embedding_overload(ids, packed, out=None, threads=None):  # type: ignore[no-untyped-def]
    worker = _prepared(packed, ids, "embedding")
    has_out, count_of = out_array(out), threads_function(threads)
    result_of = result_function(has_out)

    def run(ids, packed, out=None, threads=None):  # type: ignore[no-untyped-def]
        descriptor = packed.descriptor
        count = count_of(threads)
        shape = ids.shape + (descriptor[COLUMNS],)  # noqa: RUF005 - numba knows no stars
        flat = np.ascontiguousarray(ids).reshape(ids.size)
        y = result_of(out, shape, np.float32)
        target = arrays.apart(y, flat) if has_out else y
        bad = kernels.first_outside(data_ptr(flat), flat.itemsize, flat.size, descriptor[ROWS])
        if bad != FINE:
            raise IndexError("ids must be from 0 to the table's last row; position and id:", bad, flat[bad])
        kernels.lookup_into(
            data_ptr(flat), flat.itemsize, flat.size, data_ptr(flat), flat.size, data_ptr(flat), 0, 0,
            data_ptr(target), 4 * shape[-1], data_ptr(descriptor), worker(), count,
        )  # fmt: skip
        keep(flat)
        keep(target)
        keep(descriptor)
        arrays.deliver(target, y)
        return y

    return run


@overload_of(embeddings.embedding_bag, part=False, prefer_literal=True)
def embedding_bag_overload(  # type: ignore[no-untyped-def]
    ids, offsets, packed, mode="sum", weights=None, include_last_offset=False, out=None, threads=None
):
    name = literal("mode", mode, tuple(OPERATIONS), "sum")
    worker = _prepared(packed, ids, OPERATIONS[name])
    mean, last = int(name == "mean"), literal("include_last_offset", include_last_offset, (True, False), False)
    has_out, weighted, count_of = out_array(out), not absent(weights), threads_function(threads)
    result_of = result_function(has_out)
    if weighted:
        float_array("weights", weights)
        if name != "sum":
            raise TypingError(f'weights go with mode="sum"; got mode={name!r}')
    if absent(offsets):
        if ids.ndim != 2 or last:
            raise TypingError(f"ids must have 2 dimensions where offsets is None; got {ids}")
        ends_of = kernels.ends_of_rows
    else:
        kinds = (types.int32, types.int64)
        if ids.ndim != 1 or not (isinstance(offsets, types.Array) and offsets.ndim == 1 and offsets.dtype in kinds):
            raise TypingError(f"ids and offsets must be vectors of int32 or int64; got {ids} and {offsets}")
        ends_of = kernels.all_ends if last else kernels.ends_of_bags

    def run(  # type: ignore[no-untyped-def]
        ids, offsets, packed, mode="sum", weights=None, include_last_offset=False, out=None, threads=None
    ):
        descriptor = packed.descriptor
        count = count_of(threads)
        flat = np.ascontiguousarray(ids).reshape(ids.size)
        ends = ends_of(ids, offsets)
        bags = ends.size - 1
        bad = kernels.first_descent(data_ptr(ends), bags, flat.size)
        if bad != FINE:
            raise ValueError("offsets must begin with 0, ascend and end within ids; position:", bad)
        shape = (bags, descriptor[COLUMNS])
        y = result_of(out, shape, np.float32)
        target = arrays.apart(y, flat) if has_out else y
        bad = kernels.first_outside(data_ptr(flat), flat.itemsize, flat.size, descriptor[ROWS])
        if bad != FINE:
            raise IndexError("ids must be from 0 to the table's last row; position and id:", bad, flat[bad])
        if weighted:
            if weights.shape != ids.shape:
                raise ValueError("weights must have the shape of ids")
            # A copy: so out may overlap them.
            values = weights.astype(np.float32).reshape(weights.size)
        else:
            values = np.ones(1, np.float32)
        kernels.lookup_into(
            data_ptr(flat), flat.itemsize, flat.size, data_ptr(ends), bags, data_ptr(values), 4 if weighted else 0,
            mean, data_ptr(target), 4 * shape[1], data_ptr(descriptor), worker(), count,
        )  # fmt: skip
        keep(flat)
        keep(ends)
        keep(values)
        keep(target)
        keep(descriptor)
        arrays.deliver(target, y)
        return y

    return run
