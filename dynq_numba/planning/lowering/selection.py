"""Which values: NonZero, NonMaxSuppression. A step says how many there are, and Python looks at that number."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...kernels.selection import non_max_suppression as suppression
from ...kernels.selection import nonzero as kernels
from ..sizes import product
from ..tensor import Tensor, expect
from ..trace import Trace, Unsupported
from .base import I64, call, floats_only


def nonzero(trace: Trace, node: ir.Node) -> None:
    """NonZero"""
    x = trace.input(node, 0)
    if x.rank > kernels.AXES or x.rank == 0:
        raise Unsupported(f"NonZero of {x.rank} axes")
    size = product(x.shape)

    def make() -> tuple[Tensor, Tensor]:
        dense = trace.dense(trace.input(node, 0))
        found, count = trace.block(I64, (x.rank, size)), trace.block(I64, (1,))
        lengths: list[Any] = [1] * (kernels.AXES - x.rank) + list(x.shape)
        named: dict[str, Any] = {f"length_{i}": length for i, length in enumerate(lengths)}
        call(
            trace, "nonzero", kernels.find, kernels.NonZero, x=dense, out=found, count=count, itemsize=x.itemsize,
            floats=int(x.dtype.kind == "f"), values=size, axes=x.rank,
            **named,
        )  # fmt: skip
        return found, count

    found, count = trace.counted(node, make)
    trace.set(node.outputs[0], found.view((x.rank, count), found.strides))


def non_max_suppression(trace: Trace, node: ir.Node) -> None:
    """NonMaxSuppression"""
    boxes, scores = trace.input(node, 0), trace.input(node, 1)
    most, overlap, threshold = (trace.optional(node, i) for i in range(2, 5))
    floats_only(boxes, scores, overlap, threshold)
    for tensor, name in ((boxes, "boxes"), (scores, "scores")):
        expect(tensor.rank, 3, f"axes of {name}")
    (images, classes, count), (others, boxes_there, corners) = scores.shape, boxes.shape
    expect(others, images, "images of boxes and of scores")
    expect(boxes_there, count, "boxes and their scores")
    expect(corners, 4, "numbers of a box")
    if most is not None and most.dtype != I64:
        raise Unsupported(f"max_output_boxes_per_class of {most.dtype}")
    for given in (most, overlap, threshold):
        if given is not None:
            expect(given.size, 1, "numbers of a threshold")

    def make() -> tuple[Tensor, Tensor]:
        dense = [None if each is None else trace.dense(each) for each in (boxes, scores, most, overlap, threshold)]
        found, number = trace.block(I64, (images * classes * count, 3)), trace.block(I64, (1,))
        call(
            trace, "non_max_suppression", suppression.suppress, suppression.Suppression, boxes=dense[0],
            scores=dense[1], most=dense[2], most_overlap=dense[3], threshold=dense[4], out=found, count=number,
            images=images, classes=classes, count_of_boxes=count,
            centered=node.attributes.get_int("center_point_box", 0),
        )  # fmt: skip
        return found, number

    found, number = trace.counted(node, make)
    trace.set(node.outputs[0], found.view((number, 3), found.strides))


LOWERINGS = {"NonZero": nonzero, "NonMaxSuppression": non_max_suppression}
