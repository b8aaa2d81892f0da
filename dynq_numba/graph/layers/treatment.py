"""What is done to x in front of a quantized linear, and to its weight beforehand, so that less is lost by rounding.

    smooth     Mul(x, 1 / factors)                    weight · factors          an operator of onnx
    rotate     Hadamard⟨block⟩(x)                     weight · H / block        a function: additions in a fixed order
    outliers   columns of x and weight stay float32   0 in these columns        ⟨linear⟩_outliers, by fma in order
    gptq       nothing                                rounded by gptq.py

All of them are exact: the bodies have the bits of kernels/linear/reference_rotation.py and reference_outliers.py.
Layers of one x share its Mul and its Hadamard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...kernels.linear.emit_rotation import BLOCKS
from ...kernels.linear.reference_outliers import without
from ...kernels.linear.reference_rotation import rotate, rotate_weight
from ..functions import function
from ..model import DOMAIN
from ..recipe import Scheme
from .base import Found, Unfit

_STEP = """
    shape_H = Constant <value_ints: ints = [-1, 2, H]> ()
    pairs_H = Reshape (BEFORE, shape_H)
    a_H, b_H = Split <axis: int = 1, num_outputs: int = 2> (pairs_H)
    total_H = Add (a_H, b_H)
    gap_H = Sub (a_H, b_H)
    joined_H = Concat <axis: int = 1> (total_H, gap_H)
"""
_LAST = """
    shape = Shape (x)
    y = Reshape <allowzero: int = 1> (BEFORE, shape)
"""
#: Around the body of a linear, whose x is `all_x` with 0 in the columns, and whose y is `of_others`.
_BEFORE = """
    o_one = Constant <value_float: float = 1.0> ()
    o_zero = Constant <value_float: float = 0.0> ()
    o_k = Shape <start: int = -1> (all_x)
    o_ones = Expand (o_one, o_k)
    o_count = Shape (o_columns)
    o_zeros = Expand (o_zero, o_count)
    o_marks = ScatterElements <axis: int = 0> (o_ones, o_columns, o_zeros)
    o_keeps = Cast <to: int = 9> (o_marks)
    x = Where (o_keeps, all_x, o_zero)
"""
_BEHIND = """
    o_open = Constant <value_ints: ints = [-1]> ()
    o_picked = Gather <axis: int = -1> (all_x, o_columns)
    o_flat_shape = Concat <axis: int = 0> (o_open, o_count)
    o_flat = Reshape (o_picked, o_flat_shape)
    o_by_column = Transpose <perm: ints = [1, 0]> (o_flat)
    o_rows = Shape <end: int = 1> (o_flat)
    o_outputs = Shape <start: int = 1> (o_floats)
    o_shape = Concat <axis: int = 0> (o_rows, o_outputs)
    o_begin = Expand (o_zero, o_shape)
    o_total = Scan <num_scan_inputs: int = 2, body: graph = column
        (float[m, n] before, float[m] x_part, float[n] w_part) => (float[m, n] after) {
        behind = Constant <value_ints: ints = [1]> ()
        x_column = Unsqueeze (x_part, behind)
        wide_x = Cast <to: int = 11> (x_column)
        wide_w = Cast <to: int = 11> (w_part)
        term = Mul (wide_x, wide_w)
        addend = Cast <to: int = 11> (before)
        sum = Add (term, addend)
REPAIRED    }> (o_begin, o_by_column, o_floats)
    o_before_last = Shape <end: int = -1> (all_x)
    o_result = Concat <axis: int = 0> (o_before_last, o_outputs)
    o_share = Reshape <allowzero: int = 1> (o_total, o_result)
    y = Add (of_others, o_share)
"""
#: Behind the name of a linear that has outliers.
OUTLIERS = "_outliers"
HADAMARD = "Hadamard"


@dataclass
class Treated:
    """A linear's weight and x as they are quantized.

    Attributes
    ----------
    x : onnx_ir.Value
        What the call takes.
    weight : float32 array [N, K]
        0 in the outliers' columns.
    gram : float64 array [K, K] or None
        Of x as the call takes it, 0 in the outliers' columns; None without data.
    columns : tuple of int
        Outliers, ascending.
    floats : float32 array [columns, N]
    source : onnx_ir.Value
        The layer's own x.
    steps : list of (str, sequence of onnx_ir.Node)
        What makes `x`, in order: what is done, and its nodes, of which the last takes x and gives it.
    bytes : int
        Of constants of `steps`.
    inverse : float32 array [K] or None
        1 / factors.
    block : int
        Of the rotation, 0 for none.
    """

    x: ir.Value
    source: ir.Value
    weight: np.ndarray
    gram: np.ndarray | None = None
    columns: tuple[int, ...] = ()
    floats: np.ndarray | None = None
    steps: list[tuple[str, Sequence[ir.Node]]] = field(default_factory=list)
    needs: list[ir.Function] = field(default_factory=list)
    bytes: int = 0
    inverse: np.ndarray | None = None
    block: int = 0

    def add(self, done: str, *nodes: ir.Node) -> None:
        self.steps.append((done, nodes))
        self.x = nodes[-1].outputs[0]

    def of(self, x: np.ndarray) -> np.ndarray:
        """Rows of the layer's x as its kernel takes them."""
        if self.inverse is not None:
            x = x * self.inverse
        return rotate(x, self.block) if self.block else x


def treated(found: Found, x: ir.Value, weight: np.ndarray, scheme: Scheme) -> Treated:
    """What a scheme asks for; raises `Unfit` where it cannot be."""
    observed, k = found.observed, weight.shape[1]
    made = Treated(x, x, weight)
    if not (scheme.needs_data or scheme.rotate):
        return made
    if x.type is not None and x.dtype != ir.DataType.FLOAT:
        raise Unfit(f"x is {x.dtype}: only float32 is rotated, smoothed or split")
    maker = x.producer()
    if maker is not None and maker.graph is None:
        raise Unfit("Gemm transposes x: it is not rotated, smoothed or split")
    if scheme.needs_data and observed is None:
        raise Unfit("its x could not be observed: it is computed in a branch or a loop, or the data have no rows of it")
    amax = None if observed is None else observed.amax
    made.gram = None if observed is None else observed.gram
    if scheme.smooth is not None:
        assert observed is not None and found.factors is not None and amax is not None and made.gram is not None
        inverse = (1 / found.factors.astype(np.float64)).astype(np.float32)
        made.weight = (weight / inverse.astype(np.float64)).astype(np.float32)
        made.gram, amax = made.gram * np.outer(inverse, inverse), amax * inverse
        constant = ir.node("Constant", [], {"value": ir.tensor(inverse)})
        made.add(f"smooth={scheme.smooth}", constant, ir.node("Mul", [made.x, constant.outputs[0]]))
        made.bytes, made.inverse = inverse.nbytes, inverse
    if scheme.rotate:
        block = next((each for each in reversed(BLOCKS) if each <= scheme.rotate and k % each == 0), None)
        if block is None:
            raise Unfit(f"K = {k} is no multiple of {BLOCKS[0]}, the least block of a rotation")
        made.weight = rotate_weight(np.ascontiguousarray(made.weight), block)
        if made.gram is not None:
            made.gram = rotate(np.ascontiguousarray(rotate(made.gram, block).T), block)
        made.needs.append(hadamard(block))
        made.block = block
        made.add(f"rotate={block}", ir.Node(DOMAIN, f"{HADAMARD}{block}", [made.x]))
    if scheme.outliers and amax is not None and made.gram is not None:
        largest = np.argsort(-amax, kind="stable")[: min(scheme.outliers, k - 1)]
        made.columns = tuple(sorted(map(int, largest)))
        made.floats = np.ascontiguousarray(made.weight[:, made.columns].T)
        made.weight = without(made.weight, made.columns)
        made.gram = without(without(made.gram, made.columns).T, made.columns)
    return made


def hadamard(block: int) -> ir.Function:
    """Hadamard⟨block⟩: x [..., K] times the matrix of ±1, block by block."""
    body, before, h = "", "x", 1
    while h < block:
        body += _STEP.replace("BEFORE", before).replace("H", str(h))
        before, h = f"joined_{h}", 2 * h
    return function(f"{HADAMARD}{block}", "x", body + _LAST.replace("BEFORE", before))


def with_outliers(name: str, inputs: str, body: str, repaired: str) -> tuple[str, str, str]:
    """Name, inputs and body of the function of a linear, with outliers."""
    assert inputs.startswith("x, ")
    whole = _BEFORE + body.replace("    y = ", "    of_others = ") + _BEHIND.replace("REPAIRED", repaired)
    return name + OUTLIERS, f"all_{inputs}, o_columns, o_floats", whole


def roles(made: Treated) -> Sequence[tuple[str, np.ndarray]]:
    """What the call takes more of outliers."""
    if made.floats is None:
        return []
    return [("columns", np.array(made.columns, np.int64)), ("floats", made.floats)]
