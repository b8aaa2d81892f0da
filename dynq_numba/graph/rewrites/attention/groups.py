"""Heads of k and v that serve several of q: before exporters repeat them.

    k [B, Hkv, T, D] ─▶ Unsqueeze (2) ─▶ Expand [B, Hkv, G, T, D] ─▶ Reshape [B, Hkv · G, T, D]
"""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor
from ..matching.shapes import is_axis, known, parts


def before_repeat(value: ir.Value, edit: Editor) -> tuple[ir.Value, int]:
    """k or v with its own heads, and how many times each was repeated; the value itself and 1 where none was."""
    reshape = edit.maker(value, "Reshape")
    expand = None if reshape is None else edit.maker(reshape.inputs[0], "Expand", "Tile")
    unsqueeze = None if expand is None else edit.maker(expand.inputs[0], "Unsqueeze")
    if reshape is None or expand is None or unsqueeze is None:
        return value, 1
    few, axes = unsqueeze.inputs[0], edit.array(unsqueeze.inputs[1])
    dims, wide = None if few is None else edit.dims(few), edit.dims(value)
    spread, shape = parts(expand.inputs[1], edit), parts(reshape.inputs[1], edit)
    if few is None or dims is None or len(dims) != 4 or axes is None or axes.reshape(-1).tolist() not in ([2], [-3]):
        return value, 1
    if wide is None or len(wide) != 4 or spread is None or len(spread) != 5 or shape is None or len(shape) != 4:
        return value, 1
    times = known(spread[2], edit)
    others = [*zip(spread[:2], (0, 1), strict=True), *zip(spread[3:], (2, 3), strict=True)]
    kept = all(part == 1 or (expand.op_type == "Expand" and is_axis(part, few, axis, edit)) for part, axis in others)
    heads, width = (known((value, axis), edit) for axis in (1, 3))
    own, own_width = (known((few, axis), edit) for axis in (1, 3))
    if not kept or times is None or own is None or heads != own * times or width is None or width != own_width:
        return value, 1
    # What is left are B and T: where one is the same, so is the other.
    same = is_axis(shape[0], few, 0, edit) or is_axis(shape[2], few, 2, edit)
    whole = same or shape[0] in (0, (expand.outputs[0], 0))
    return (few, times) if whole else (value, 1)
