"""Gather of rows of a constant table: dq.embedding.

    Embedding     uint8 table [V, D], scale [V], minimum [V], ids                    exact
    EmbeddingOf   the weight [K, N] and scale of the Linear that has the same table  exact

A table that is a linear's weight, too, is stored as that linear stores it: the integers need not be there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators.embedding.api import embedding
from ...operators.embedding.packed import pack_embedding
from ..constants import Constants
from ..functions import function
from ..recipe import Scheme
from .base import Found, Inputs, LayerKind, Probe, Replacement, Unfit

_ROWS = """
    last = Constant <value_ints: ints = [-1]> ()
    bytes = Gather <axis: int = 0> (table, ids)
    floats = Cast <to: int = 1> (bytes)
    scales = Gather <axis: int = 0> (scale, ids)
    factor = Unsqueeze (scales, last)
    minimums = Gather <axis: int = 0> (minimum, ids)
    start = Unsqueeze (minimums, last)
    scaled = Mul (floats, factor)
    y = Add (scaled, start)
"""
_OF_LINEAR = """
    last = Constant <value_ints: ints = [-1]> ()
    middle = Constant <value_float: float = 128.0> ()
    turned = Transpose <perm: ints = [1, 0]> (weight)
    bytes = Gather <axis: int = 0> (turned, ids)
    unsigned = Cast <to: int = 1> (bytes)
    floats = Sub (unsigned, middle)
    scales = Gather <axis: int = 0> (weight_scale, ids)
    factor = Unsqueeze (scales, last)
    y = Mul (floats, factor)
"""
#: Rows of a table that it is tried on.
PROBES = 256


class Embedding(LayerKind):
    op_types = ("Gather",)

    def find(self, node: ir.Node, constants: Constants) -> Found | None:
        table = node.inputs[0]
        assert table is not None
        return Found(node, (table,)) if constants.is_constant(table) else None

    def replace(self, found: Found, arrays: Sequence[np.ndarray], scheme: Scheme, constants: Constants) -> Replacement:
        table = arrays[0]
        _check_rows(found, table.ndim)
        if scheme.bits != 8 or scheme.granularity != "per_channel":
            raise Unfit(f"tables have 8 bits and a scale for each row; not {scheme.granularity}, {scheme.bits} bits")
        packed, ids = pack_embedding(table), found.node.inputs[1]
        assert ids is not None
        inputs: Inputs = [("table", packed.qweight), ("scale", packed.scale), ("minimum", packed.minimum), ids]
        made = function("Embedding", "table, scale, minimum, ids", _ROWS)
        return Replacement(made, inputs, packed, "uint8_per_row", floats=())

    def of_linear(self, found: Found, weight: ir.Value, scale: ir.Value, packed: Any) -> Replacement:
        """A lookup in the stored weight of a linear."""
        _check_rows(found, 2)
        ids = found.node.inputs[1]
        assert ids is not None
        made = function("EmbeddingOf", "weight, weight_scale, ids", _OF_LINEAR)
        return Replacement(made, [weight, scale, ids], packed, packed.scheme, floats=())

    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, constants: Constants) -> Probe:
        table = arrays[0]
        ids = np.random.default_rng(0).integers(0, len(table), PROBES)
        ours = embedding(ids, packed) if hasattr(packed, "minimum") else packed.dequantize()[ids]
        return Probe([table[ids]], [ours])


def _check_rows(found: Found, axes: int) -> None:
    """Whether it gives rows of a matrix."""
    axis = found.node.attributes.get_int("axis", 0)
    if axes != 2 or axis not in (0, -2):
        raise Unfit(f"Gather along axis {axis} of {axes} axes")
