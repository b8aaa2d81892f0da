"""optimise: the model as sessions run it, and what each rewrite made of each node."""

from __future__ import annotations

from os import PathLike
from typing import Any

from ..graph.model import attention_bits, canonical
from ..graph.optimise import optimise as rewritten
from ..graph.rewrites import Note
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
        One for each node that a rewrite looked at: `rewrite`, `node`, `result` (what it became) or `reason` (why not).

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
    if out is not None:
        files.check_place(out)
    found = files.read(model)
    found, _ = canonical(found)
    notes = rewritten(found, attention_bits=attention_bits(found))
    if out is not None:
        files.write(found, out)
    return notes
