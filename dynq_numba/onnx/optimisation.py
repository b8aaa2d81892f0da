"""optimise: the model as sessions run it, and what each rewrite made of each node; why: of one of them."""

from __future__ import annotations

from os import PathLike
from typing import Any

import onnx_ir as ir

from ..graph.names import nodes
from ..graph.rewrites import Note
from ..graph.rewrites.base import fused_from, identifier, label
from ..planning.lowering import lowering_of
from ..planning.runnable import runnable
from . import files

__all__ = ["Note", "optimise"]


def optimise(model: Any, out: str | PathLike[str] | None = None) -> list[Note]:
    """Rewrite a model as `InferenceSession` does, to see what becomes of it.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model
        Left as it is.
    out : path, optional
        Where the rewritten model is written: standard ONNX, with functions of domain `dynq` that our session knows by
        name. It appears whole or stays as it was.

    Returns
    -------
    list of Note
        One for each node that a rewrite looked at: `rewrite`, `node`, and `result` (what it became) with `nodes` (all
        that this stands for), or `reason` (why not).

    Raises
    ------
    TypeError, ValueError
        Where it is no ONNX model.
    OSError
        From reading or writing.

    Examples
    --------
    >>> from onnx import parser
    >>> import dynq_numba as dq
    >>> model = parser.parse_model('''<ir_version: 10, opset_import: ["": 21]>
    ...     swish (float[n] x) => (float[n] y) { gate = Sigmoid (x) y = Mul (x, gate) }''')
    >>> [(note.rewrite, note.result) for note in dq.onnx.optimise(model) if note.result]
    [('activation', 'Silu')]
    """
    return _optimised(model, out)[2]


def why(model: Any, node: str, out: str | PathLike[str] | None = None) -> list[str]:
    """Say what becomes of a node; model and out are those of `optimise`.

    Returns
    -------
    list of str
        A line for each rewrite that looked at the node or took it in, and what stands in its place in the end.

    Raises
    ------
    ValueError
        Where the model has no such node. A node without a name is called by its first result.
    """
    before, made, notes = _optimised(model, out)
    about = [note for note in notes if node in (note.node, note.result, *note.nodes)]
    if node not in before and not about:
        near = [name for name in before if node and name.startswith(node)] or before
        raise ValueError(f"node must be one of {', '.join(near[:8])}{', …' * (len(near) > 8)}; got {node!r}")
    lines = [f"{note.rewrite}: {_outcome(note, node)}" for note in about]
    if node in before:
        found = [_place(each, node) for each in nodes(made) if node in fused_from(each)]
        lines += found or ["in the end nothing stands for it: it is constant, or nobody reads it"]
    return lines


def _outcome(note: Note, node: str) -> str:
    if note.reason:
        return f"no: {note.reason}"
    return f"became {note.result}" if node in (note.node, note.result) else f"part of {note.result}, from {note.node}"


def _place(made: ir.Node, node: str) -> str:
    others = [name for name in fused_from(made) if name != node]
    together = f", together with {', '.join(others)}" if others else ""
    python = "" if lowering_of(made) else ", which has no kernel: Python computes it"
    return f"in the end it is {identifier(made)}{together}{python}"


def _optimised(model: Any, out: str | PathLike[str] | None) -> tuple[list[str], ir.Model, list[Note]]:
    """Names of the nodes before, the model as sessions run it, and what rewrites made of each node."""
    if out is not None:
        files.check_place(out)
    found = files.read(model)
    before = [label(node) for node in nodes(found)]
    name = files.called(model, "model")
    with files.clear_errors(name):
        found, _, notes = runnable(found, name)
    if out is not None:
        files.write(found, out)
    return before, found, notes
