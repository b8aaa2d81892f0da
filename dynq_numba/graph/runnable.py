"""From a model as it was given to what a plan walks: in one place, so that what people are shown is what runs."""

from __future__ import annotations

import onnx_ir as ir

from .bodies import with_bodies
from .canonical import canonical
from .model import attention_bits
from .optimise import optimise
from .rewrites import Note


def runnable(model: ir.Model, name: str) -> tuple[ir.Model, list[str], list[Note]]:
    """The model as plans take it; what was put right in it; what became of each node that a rewrite looked at."""
    model, notes = canonical(model, name)
    bits = attention_bits(model)
    rewritten = optimise(model, attention_bits=bits)
    if with_bodies(model):
        rewritten += optimise(model, attention_bits=bits)
    return model, notes, rewritten
