"""Masks that hide the keys behind a row: `causal` of dq.attention.

    tril(ones) · Trilu · Range ≤ Range · a constant triangle, sliced · their Where, Not, Cast, (1 - m)·-10000 …

Such a mask depends on lengths and constants alone. So no spelling is compared: the mask is computed for some numbers of
rows and keys, the largest beyond every constant in it, and compared with the triangle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...constants import graphs_of
from ..base import Dimension, Editor, identifier
from .groups import before_repeat

#: What an additive mask or a Where must put on a score to make its weight 0.
NEVER = -9999.0
#: The most nodes of a mask, the longest constant axis, and what counts as infinity in a Slice.
MOST_NODES, LONGEST, FAR = 96, 2100, 1 << 40
#: Of each kind: whether the last row stands at the last key, or the first row at the first.
_KINDS = {"causal": 1, "topleft": 0}
#: Of an axis: its symbol, or the value and axis that it is of.
_Key = str | tuple[ir.Value, int]


class Unknown(Exception):
    """A mask that does not depend on lengths and constants alone."""


def causal(mask: ir.Value, q: ir.Value, k: ir.Value, edit: Editor, *, additive: bool, inverted: bool = False) -> str:
    """"causal" (the last row sees all keys), "topleft" (the first row sees one), or "" where the mask is neither.

    A mask is of booleans, true for keys that are seen, or `inverted`; or `additive`.
    """
    try:
        what = ("causal", mask, _length(q, edit), _length(k, edit), additive, inverted)
        if what not in edit.known:
            edit.known[what] = ""
            edit.known[what] = _causal(mask, q, k, edit, additive, inverted)
        return edit.known[what]
    except Unknown:
        return ""


def _causal(mask: ir.Value, q: ir.Value, k: ir.Value, edit: Editor, additive: bool, inverted: bool) -> str:
    nodes, reach = _sources(mask, edit)
    trials = list(_trials(reach, q, k, edit))
    kinds = list(_KINDS)
    largest = 0
    for s, t, sizes, other in trials:
        try:
            array = _compute(mask, nodes, sizes, other, edit)
        except ValueError:  # of onnx.reference: there are no such lengths
            continue
        seen = _seen(array, additive, inverted)
        if seen is None or seen.ndim < 2 or (1 in seen.shape[-2:] and seen.shape[-2:] != (s, t)):
            return ""
        if seen.shape[-2:] != (s, t):  # beyond a constant triangle: the scores do not fit
            continue
        rows, keys = np.arange(s)[:, None], np.arange(t)
        kinds = [kind for kind in kinds if (seen == (keys <= rows + _KINDS[kind] * (t - s))).all()]
        largest = max(largest, s)
    return kinds[0] if kinds and largest >= min(3, max(s for s, *_ in trials)) else ""


def lengths_in(
    condition: ir.Value | None, q: ir.Value, k: ir.Value, edit: Editor
) -> tuple[ir.Value | None, str]:
    """The lengths [B] of a condition that is true for so many keys of each batch, and "causal" if those end at a row.

        Less (0 … T-1, Unsqueeze (lengths))       LessOrEqual (0 … T-1, rows 0 … S-1 + (Unsqueeze (lengths) - S))
    """
    compare = edit.maker(condition, "Less", "LessOrEqual")
    spread = None if compare is None else compare.inputs[1]
    row = count = None
    if compare is not None and identifier(compare) == "LessOrEqual":
        add = edit.maker(spread, "Add")
        sub = None if add is None else edit.maker(add.inputs[1], "Sub")
        if add is None or sub is None:
            return None, ""
        row, (spread, count) = add.inputs[0], sub.inputs
    unsqueeze = edit.maker(spread, "Unsqueeze")
    axes = None if unsqueeze is None else edit.array(unsqueeze.inputs[1])
    if compare is None or unsqueeze is None or axes is None or axes.reshape(-1).tolist() != [1, 2, 3]:
        return None, ""
    lengths, places = unsqueeze.inputs[0], compare.inputs[0]
    if lengths is None or places is None or lengths.dtype != ir.DataType.INT64:
        return None, ""
    (batch, *_), (number, *_) = edit.dims(q) or (None,), edit.dims(lengths) or (None,)
    if batch is None or batch != number:  # one length may be for all
        return None, ""
    try:
        for value, meant in ((places, lambda s, t: np.arange(t)), (row, lambda s, t: np.arange(s)[:, None]),
                             (count, lambda s, t: np.array([s]))):  # fmt: skip
            if value is None:
                continue
            nodes, reach = _sources(value, edit)
            for s, t, sizes, other in _trials(reach, q, k, edit):
                if not np.array_equal(_compute(value, nodes, sizes, other, edit), meant(s, t)):
                    return None, ""
    except (Unknown, ValueError):
        return None, ""
    return lengths, "causal" if row is not None else ""


def _seen(array: np.ndarray, additive: bool, inverted: bool) -> np.ndarray | None:
    """Booleans, or None where an additive mask has something else than 0 and what hides."""
    if not additive:
        return ~array.astype(bool) if inverted else array.astype(bool)
    if array.dtype.kind != "f" or not ((array == 0) | (array <= NEVER)).all():
        return None
    return array == 0


def _trials(
    reach: int, q: ir.Value, k: ir.Value, edit: Editor
) -> Iterator[tuple[int, int, dict[_Key, int], int]]:
    """Numbers of rows and keys, all lengths that they are of, and the number for every other length."""
    rows, keys = _key(q, -2, edit), _key(k, -2, edit)
    fixed_rows, fixed_keys = _length(q, edit), _length(k, edit)
    pairs = [(n, n) for n in (1, 2, 3, 5, reach, reach + 3)]
    if rows != keys:
        pairs += [(1, 4), (2, 3), (3, 7), (2, reach), (3, reach + 5)]
    for s, t in pairs:
        s = fixed_rows if isinstance(fixed_rows, int) else s
        t = fixed_keys if isinstance(fixed_keys, int) else max(s, t)
        yield s, t, {rows: s, keys: t} | _of_past(q, k, s, t, edit), 2 + s % 2


def _sources(mask: ir.Value, edit: Editor) -> tuple[list[ir.Node], int]:
    """The nodes that compute it, those in front first, and the largest number in them."""
    found: dict[ir.Node, None] = {}
    reach = 4

    def visit(value: ir.Value) -> None:
        nonlocal reach
        if edit.constants.is_constant(value):
            array = np.asarray(edit.constants.weight(value))
            numbers = array.reshape(-1).tolist() if array.dtype.kind in "iu" else []
            reach = max([reach, *array.shape, *(abs(number) for number in numbers if abs(number) < FAR)])
            if reach > LONGEST:
                raise Unknown
            return
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or len(found) > MOST_NODES or graphs_of(node):
            raise Unknown
        if node in found:
            return
        if identifier(node) != "Shape":
            for each in node.inputs:
                if each is not None:
                    visit(each)
        found[node] = None

    visit(mask)
    return list(found), reach


def _key(value: ir.Value, axis: int, edit: Editor) -> _Key:
    dims = edit.dims(value)
    if dims is None:
        raise Unknown
    symbol = dims[axis]
    return symbol if isinstance(symbol, str) else (value, axis % len(dims))


def _length(value: ir.Value, edit: Editor) -> Dimension | _Key:
    """The axis of rows, which two values share or not."""
    key, dims = _key(value, -2, edit), edit.dims(value)
    assert dims is not None
    return key if dims[-2] is None else dims[-2]


def _of_past(q: ir.Value, k: ir.Value, rows: int, keys: int, edit: Editor) -> dict[_Key, int]:
    """Of keys that are joined from those of a cache and new ones, as many as rows."""
    join = edit.maker(before_repeat(k, edit)[0], "Concat")
    if join is None or len(join.inputs) != 2 or join.attributes.get_int("axis", 0) not in (-2, 2):
        return {}
    past, new = join.inputs
    assert past is not None and new is not None
    if _length(new, edit) != _length(q, edit):
        return {}
    return {_key(past, -2, edit): keys - rows, _key(new, -2, edit): rows}


@np.errstate(all="ignore")
def _compute(
    mask: ir.Value, nodes: list[ir.Node], sizes: dict[_Key, int], other: int, edit: Editor
) -> np.ndarray:
    known: dict[ir.Value, np.ndarray] = {}

    def array(value: ir.Value | None) -> np.ndarray | None:
        if value is None:
            return None
        return known[value] if value in known else edit.constants.weight(value)

    for node in nodes:
        if identifier(node) == "Shape":
            results = [_shape(node, sizes, other, edit)]
        else:
            results = edit.constants.folded(node, [array(each) for each in node.inputs])
        known.update(zip(node.outputs, results, strict=False))
    found = array(mask)
    assert found is not None
    return found


def _shape(node: ir.Node, sizes: dict[_Key, int], other: int, edit: Editor) -> np.ndarray:
    value = node.inputs[0]
    dims = None if value is None else edit.dims(value)
    if value is None or dims is None:
        raise Unknown
    lengths = []
    for axis, dim in enumerate(dims):
        key = _key(value, axis, edit)
        lengths.append(dim if isinstance(dim, int) else sizes.get(key, other))
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(lengths))
    return np.array(lengths[start:end], np.int64)
