"""A synthetic probe: random numbers for a model's inputs, drawn from a seed. It says little about real data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..onnx.feeds import NodeArg
from .batches import dtype_of

#: Of a synthetic probe: rows, and lengths of axes that models leave open, of images (4 axes) and of others.
ROWS, IMAGE, LENGTH = 64, 64, 16
#: Where integers of a probe end, if no table says how many rows it has.
_INTEGERS = 2
#: What passes integers on to a table.
_PASSING = ("Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Transpose", "Flatten", "Clip", "Concat", "Slice")


def probe(inputs: Sequence[NodeArg], model: ir.Model | None, seed: int) -> dict[str, np.ndarray]:
    """Random numbers for inputs: normal ones, row numbers of tables, and masks of ones."""
    rng, made = np.random.default_rng(seed), {}
    values = {} if model is None else {value.name: value for value in model.graph.inputs}
    for each in inputs:
        if not each.type.startswith("tensor(") or each.type == "tensor(string)":
            raise ValueError(f"{each.name} is {each.type}: a probe has numbers only; give data")
        other = IMAGE if len(each.shape) == 4 else LENGTH
        lengths = [n if isinstance(n, int) else ROWS if axis == 0 else other for axis, n in enumerate(each.shape)]
        short = each.type[7:-1]
        dtype = dtype_of(short)
        if dtype.kind == "f":
            made[each.name] = rng.standard_normal(lengths).astype(dtype)
        elif dtype.kind == "b" or "mask" in each.name.lower():
            made[each.name] = np.ones(lengths, dtype)
        else:
            below = _table_rows(values.get(each.name)) or _INTEGERS
            made[each.name] = rng.integers(0, min(below, np.iinfo(dtype).max), lengths).astype(dtype)
    return made


def _table_rows(value: ir.Value | None) -> int | None:
    """Rows of the smallest table that integers are taken from."""
    found: list[int] = []
    left, seen = [] if value is None else [value], set[ir.Value]()
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        for use in each.uses():
            node = use.node
            if node.op_type == "Gather" and use.idx == 1:
                shape = None if node.inputs[0] is None else node.inputs[0].shape
                axis = node.attributes.get_int("axis", 0)
                rows = None if shape is None else shape[axis]
                if isinstance(rows, int):
                    found.append(rows)
            elif node.op_type in _PASSING:
                left += node.outputs
    return min(found, default=None)
