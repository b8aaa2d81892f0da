"""What lowerings share: attributes and types of nodes, and steps by their records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.rewrites.base import DIFFERS
from ...kernels.base.jit import address
from ...kernels.base.memory import WORKER_SIGNATURE
from ...kernels.base.record import Record
from ..segment import Bits, Word
from ..sizes import AnySize
from ..tensor import Tensor
from ..trace import Trace, Unsupported

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)


def dtype_of(code: int) -> np.dtype:
    """numpy's type for ONNX's number of one."""
    return np.dtype(ir.DataType(code).numpy())


def attribute_ints(node: ir.Node, name: str, default: Sequence[int] | None = None) -> list[int] | None:
    attribute = node.attributes.get(name)
    return (None if default is None else list(default)) if attribute is None else list(attribute.as_ints())


def axis_of(node: ir.Node, rank: int, default: int = -1) -> int:
    """The attribute `axis`, not negative."""
    return axes_of([node.attributes.get_int("axis", default)], rank)[0]


def axes_of(given: Sequence[AnySize], rank: int) -> list[int]:
    """Axes of so many, not negative."""
    axes = [int(axis) for axis in given]
    if not all(-rank <= axis < rank for axis in axes):
        raise ValueError(f"axes must be from {-rank} to {rank - 1}; got {axes}")
    return [axis % rank for axis in axes]


#: The longest axis that numbers may ask for: sums and products of lengths stay within int64.
MOST_LENGTH = 1 << 40


def lengths_of(given: Sequence[AnySize]) -> list[AnySize]:
    """Numbers that are lengths of axes."""
    for n in given:
        if n < 0 or n > MOST_LENGTH:
            raise ValueError(f"lengths must be from 0 to {MOST_LENGTH}; got {list(given)}")
    return list(given)


def indices_only(tensor: Tensor) -> None:
    """Refuse what is no int32 or int64."""
    if tensor.dtype.kind != "i" or tensor.itemsize < 4:
        raise Unsupported(f"{tensor.dtype} as indices")


def floats_only(*tensors: Any) -> None:
    """Refuse what kernels of float32 do not take."""
    for tensor in tensors:
        if tensor is not None and tensor.dtype != F32:
            raise Unsupported(f"{tensor.dtype} where kernels take float32")


@cache
def function_of(step: Any) -> int:
    """The address of a compiled step."""
    return address(step, WORKER_SIGNATURE)


def call(
    trace: Trace,
    kernel: str,
    step: Any,
    record: type[Record],
    errors: dict[int, str] | None = None,
    result: Tensor | None = None,
    **fields: Word | float,
) -> None:
    """Add a step by its record's fields, all of which are given. `result` is `out` where that has other axes."""
    if fields.keys() != record.kinds.keys():
        raise TypeError(f"{record.__name__} wants {sorted(fields.keys() ^ record.kinds.keys())} too")
    words: list[Word] = []
    for name in record.kinds:
        value = fields[name]
        words.append(Bits(value) if isinstance(value, float) else value)
    node = trace.node
    differs = "" if node is None else node.metadata_props.get(DIFFERS, "")
    free, post_ops, out = fields.get("post_ops") == 0, None, result or fields.get("out")
    if free and isinstance(out, Tensor):
        post_ops = out, list(record.kinds).index("post_ops")
    trace.step(kernel, function_of(step), words, errors=errors or {}, post_ops=post_ops, differs=differs)
