"""auto_pad of convolutions and poolings as pads, where it depends on no length that is not known.

    SAME: ⌈n / stride⌉ results of n values      total = (results - 1) · stride + (kernel - 1) · dilation + 1 - n

With a stride of 1 that is (kernel - 1) · dilation, for every n. The odd one is behind (SAME_UPPER) or before
(SAME_LOWER).
"""

from __future__ import annotations

import onnx_ir as ir

from .names import nodes


def explicit_pads(model: ir.Model) -> None:
    """Put pads for auto_pad in Conv, MaxPool and AveragePool, in place."""
    for node in nodes(model):
        if node.domain == "" and node.op_type in ("Conv", "MaxPool", "AveragePool"):
            auto = node.attributes.get_string("auto_pad", "NOTSET")
            totals = _totals(node) if auto in ("SAME_UPPER", "SAME_LOWER") else None
            if totals is not None:
                halves, rests = [total // 2 for total in totals], [total - total // 2 for total in totals]
                pads = [*halves, *rests] if auto == "SAME_UPPER" else [*rests, *halves]
                node.attributes.pop("auto_pad")
                node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _totals(node: ir.Node) -> list[int] | None:
    """What is added to each axis."""
    kernel = list(node.attributes.get_ints("kernel_shape", ()))
    weight = node.inputs[1] if node.op_type == "Conv" else None
    if not kernel and weight is not None and weight.shape is not None:
        kernel = [each for each in weight.shape[2:] if isinstance(each, int)]
    x = node.inputs[0]
    shape = None if x is None or x.shape is None else list(x.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = (list(node.attributes.get_ints(each, ones)) for each in ("strides", "dilations"))
    lengths = [None] * len(kernel) if shape is None else shape
    if not kernel or not len(kernel) == len(strides) == len(dilations) == len(lengths):
        return None
    totals = []
    for taps, stride, dilation, n in zip(kernel, strides, dilations, lengths, strict=True):
        if stride == 1:
            totals.append((taps - 1) * dilation)
        elif isinstance(n, int):
            totals.append(max((-(-n // stride) - 1) * stride + (taps - 1) * dilation + 1 - n, 0))
        else:
            return None
    return totals
