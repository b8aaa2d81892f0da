"""Histograms of weights and inputs of layers of a float model: counts only, no value of any row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor

from ..graph.rewrites.base import label
from ..onnx import InferenceSession, files
from .data import Source, read_data

#: Bars of a histogram.
BINS = 48


def histograms(
    model: Any, layers: Sequence[str], source: Source = None, *, rows: int = 64, seed: int = 0
) -> list[dict[str, Any]]:
    """Count the values of some layers: of their weights, and of what comes in, on the first rows of data.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model
        The float model.
    layers : sequence of str
        Names as `LayerLooks.layer` has them.
    source, rows, seed
        What `read_data` takes; only one batch of so many rows is run.

    Returns
    -------
    list of dict
        "layer", "weights", "inputs"; the latter are None, or "edges" and "counts".
    """
    graph_of = files.read(model)
    known = {label(node): node for node in ir.traversal.RecursiveGraphIterator(graph_of.graph)}
    found = {layer: node for layer in layers for name in layer.split(", ")[:1] if (node := known.get(name)) is not None}
    wanted = {layer: value for layer, node in found.items() if (value := _input(node)) is not None}
    arrays = _values(graph_of, wanted, source, rows, seed) if wanted else {}
    return [
        {"layer": layer, "weights": _counted(_weight(node)), "inputs": _counted(arrays.get(layer))}
        for layer, node in found.items()
    ]


def _input(node: ir.Node) -> ir.Value | None:
    """What changes from run to run: the first input that is no constant. Of a table, these are row numbers: none."""
    if node.op_type == "Gather":
        return None
    return next((value for value in node.inputs if value is not None and get_const_tensor(value) is None), None)


def _weight(node: ir.Node) -> np.ndarray | None:
    """The largest constant that it takes."""
    tensors = [get_const_tensor(value) for value in node.inputs if value is not None]
    constants = [tensor.numpy() for tensor in tensors if tensor is not None]
    return max(constants, key=lambda array: array.size, default=None)


def _values(
    model: ir.Model, wanted: dict[str, ir.Value], source: Source, rows: int, seed: int
) -> dict[str, np.ndarray]:
    """What those values are in one run, as rows of numbers; none of values inside branches and loops."""
    flat = ir.Value(name="dynq.flat", const_value=ir.tensor(np.array([-1], np.int64)))
    model.graph.initializers.add(flat)
    names: dict[str, str] = {}
    for layer, value in wanted.items():
        own = value.producer()
        if (own is None and value.is_graph_input()) or (own is not None and own.graph is model.graph):
            # A new output needs a known number of axes: it is made one.
            names[layer] = f"dynq.values.{len(names)}"
            kind = ir.TensorType(value.dtype or ir.DataType.FLOAT)
            line = ir.Value(name=names[layer], shape=ir.Shape([None]), type=kind)
            model.graph.append(ir.Node("", "Reshape", [value, flat], outputs=[line]))
            model.graph.outputs.append(line)
    session = InferenceSession(model)
    feeds = next(iter(read_data(source, session.get_inputs(), model=model, batch=rows, seed=seed))).feeds
    return dict(zip(names, session.run(list(names.values()), feeds), strict=True)) if names else {}


def _counted(array: np.ndarray | None) -> dict[str, list[float]] | None:
    """Edges and counts of what is finite."""
    if array is None or array.dtype.kind != "f":
        return None
    finite = array[np.isfinite(array)]
    if not finite.size:
        return None
    counts, edges = np.histogram(finite, BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
