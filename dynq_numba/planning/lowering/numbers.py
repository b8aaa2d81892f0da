"""Numbers that shapes are made of: computed while planning, on ints and Sizes, not by steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod

import numpy as np
import onnx_ir as ir

from ..sizes import AnySize, Size, Varying, is_less, is_same, largest, smallest
from ..tensor import Tensor
from ..trace import Trace
from ..weights import SMALL
from .base import attribute_ints, dtype_of


def folded(trace: Trace, node: ir.Node) -> bool:
    """Compute a node on known numbers; False where it is another operator or they are not known."""
    compute = NUMBERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if compute is None or any(each in trace.state.objects for each in node.inputs):
        return False
    given = [trace.get(each) for each in node.inputs]
    if any(each is not None and each.contents is None for each in given) or not any(given):
        return False
    try:
        found = compute(node, [None if each is None else each.contents for each in given])
    except Varying:
        return False
    if found is None or found.size > SMALL:
        return False
    output = node.outputs[0]
    first = given[0]
    assert first is not None
    dtype = (
        dtype_of(node.attributes.get_int("to", 0)) if node.op_type == "Cast" else _TYPES.get(node.op_type, first.dtype)
    )
    if node.op_type == "Where":
        assert given[1] is not None
        dtype = given[1].dtype
    if dtype.kind not in "iub":
        return False
    trace.set(output, number_tensor(found, dtype))
    return True


def number_tensor(numbers: np.ndarray, dtype: np.dtype) -> Tensor:
    """A tensor of numbers, without memory yet."""
    return Tensor(dtype, numbers.shape, contents=numbers)


_TYPES = {
    each: np.dtype(np.bool_)
    for each in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or")
}


def _each(function: Callable[..., AnySize]) -> Callable[[ir.Node, list], np.ndarray | None]:
    spread = np.frompyfunc(function, 2, 1)
    return lambda node, given: np.asarray(spread(*given), object) if _are_few(given) else None


def _all(function: Callable[..., AnySize]) -> Callable[[ir.Node, list], np.ndarray | None]:
    """Of one number or more."""
    spread = np.frompyfunc(function, 2, 1)
    return lambda node, given: np.asarray(reduce(spread, given), object) if _are_few(given) else None


def _are_few(given: list) -> bool:
    """Whether arrays stay small when they are spread over each other."""
    return prod(np.broadcast_shapes(*(each.shape for each in given))) <= SMALL


def _divide(a: AnySize, b: AnySize) -> AnySize:
    """C's quotient: towards zero."""
    if b == 0:
        return 0
    if (a < 0) != (b < 0):
        return -(-a // b) if b > 0 else -(a // -b)
    return a // b


def _mod(node: ir.Node, given: list) -> np.ndarray | None:
    if node.attributes.get_int("fmod", 0):
        return None
    return np.asarray(np.frompyfunc(lambda a, b: a % b if b != 0 else 0, 2, 1)(*given), object)


def _gather(node: ir.Node, given: list) -> np.ndarray | None:
    data, indices = given
    axis = node.attributes.get_int("axis", 0)
    return np.asarray(np.take(data, _ints(indices), axis=axis), object)


def _ints(numbers: np.ndarray) -> np.ndarray:
    """Numbers that the plan must know: Sizes among them are fixed."""
    return np.vectorize(int, otypes=[np.int64])(numbers) if numbers.size else np.zeros(numbers.shape, np.int64)


def _concat(node: ir.Node, given: list) -> np.ndarray:
    return np.concatenate(given, axis=node.attributes.get_int("axis", 0))


def _axes(node: ir.Node, given: list) -> list[int] | None:
    if len(given) > 1 and given[1] is not None:
        return _ints(given[1]).reshape(-1).tolist()
    return attribute_ints(node, "axes")


def _unsqueeze(node: ir.Node, given: list) -> np.ndarray:
    axes = _axes(node, given) or []
    rank = given[0].ndim + len(axes)
    return np.expand_dims(given[0], tuple(axis % rank for axis in axes))


def _squeeze(node: ir.Node, given: list) -> np.ndarray:
    axes = _axes(node, given)
    return np.squeeze(given[0], axis=None if axes is None else tuple(axes))


def _reshape(node: ir.Node, given: list) -> np.ndarray | None:
    shape = _ints(given[1]).tolist()
    return given[0].reshape(shape) if all(shape) else None


def _slice(node: ir.Node, given: list) -> np.ndarray | None:
    if any(isinstance(n, Size) for ends in given[1:3] for n in ends.reshape(-1)):
        return None  # of a table, by a length that varies: a view, not a plan for each length
    data, starts, ends = (given[0], _ints(given[1]).tolist(), _ints(given[2]).tolist())
    axes = _ints(given[3]).tolist() if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = _ints(given[4]).tolist() if len(given) > 4 and given[4] is not None else [1] * len(starts)
    places = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(places)]


def _cast(node: ir.Node, given: list) -> np.ndarray | None:
    to = dtype_of(node.attributes.get_int("to", 0))
    if to.kind == "b":
        return np.asarray(np.frompyfunc(lambda n: 1 - is_same(n, 0), 1, 1)(given[0]), object)
    return given[0] if to.kind in "iu" and to.itemsize >= 4 else None


def _where(node: ir.Node, given: list) -> np.ndarray | None:
    if not _are_few(given):
        return None
    return np.asarray(
        np.frompyfunc(lambda c, a, b: a if (c == 1 if isinstance(c, Size) else c) else b, 3, 1)(*given), object
    )


def _reduce_prod(node: ir.Node, given: list) -> np.ndarray | None:
    if given[0].ndim != 1 or not given[0].size or node.attributes.get_int("noop_with_empty_axes", 0):
        return None
    return np.asarray(np.prod(given[0]), object).reshape((1,) if node.attributes.get_int("keepdims", 1) else ())


#: By operator: (node, numbers of its inputs) -> numbers of its result, or None where only a kernel can.
NUMBERS: dict[str, Callable[[ir.Node, list], np.ndarray | None]] = {
    "Add": _each(lambda a, b: a + b), "Sub": _each(lambda a, b: a - b), "Mul": _each(lambda a, b: a * b),
    "Div": _each(_divide), "Mod": _mod,
    "Max": _all(largest), "Min": _all(smallest),
    "Equal": _each(is_same), "Less": _each(is_less), "Greater": _each(lambda a, b: is_less(b, a)),
    "LessOrEqual": _each(lambda a, b: 1 - is_less(b, a)), "GreaterOrEqual": _each(lambda a, b: 1 - is_less(a, b)),
    "Not": lambda node, given: np.asarray(np.frompyfunc(lambda a: 1 - a, 1, 1)(given[0]), object),
    "And": _each(lambda a, b: a * b), "Or": _each(largest),
    "Identity": lambda node, given: given[0], "Cast": _cast, "Where": _where, "ReduceProd": _reduce_prod,
    "Gather": _gather, "Concat": _concat, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Reshape": _reshape,
    "Slice": _slice,
}  # fmt: skip
