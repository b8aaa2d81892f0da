"""From a model as it was given to what a plan walks: in one place, so that what people are shown is what runs."""

from __future__ import annotations

import onnx_ir as ir

from ..graph.canonical import canonical
from ..graph.foreign import SEMANTICS, keep_integers
from ..graph.model import attention_bits
from ..graph.optimise import optimise
from ..graph.rewrites import Note
from .bodies import with_bodies


def runnable(model: ir.Model, name: str, semantics: str = SEMANTICS[0]) -> tuple[ir.Model, list[str], list[Note]]:
    """The model as plans take it; what was put right in it; what became of each node that a rewrite looked at."""
    model, notes = canonical(model, name)
    rewritten = keep_integers(model, semantics)
    bits = attention_bits(model)
    rewritten += optimise(model, attention_bits=bits)
    if with_bodies(model):
        rewritten += optimise(model, attention_bits=bits)
    return model, notes, rewritten
