"""Operators that are combinations of others, as these: what ONNX Runtime's optimizer writes, and opsets 23 to 25.

    com.microsoft.SkipLayerNormalization (x, skip, gamma, beta)  ─▶  Add ─▶ LayerNormalization
    Attention of opset 23                                        ─▶  MatMul ─▶ Mul ─▶ Softmax ─▶ MatMul

So everything behind this knows one form. Quantization finds the weights, rewrites find norms and attention again. A new
operator is a row of a file here: its inputs, its results, and a function that writes its body in ONNX's text form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

import onnx_ir as ir

from ..functions import function
from ..model import DOMAIN, VERSION
from ..names import nodes
from ..rewrites.base import Editor, NoMatch, Note, identifier, label
from . import attention, einsum, embedding, fused, gelus, group_query, multi_head, norms, qlinear, quantized, rotary
from .base import Expansion, Operator, in_float32

#: By operator.
EXPANSIONS: dict[str, Expansion] = {}
for _module in (attention, einsum, embedding, fused, gelus, group_query, multi_head, norms, qlinear, quantized, rotary):
    EXPANSIONS |= _module.EXPANSIONS


def expand(model: ir.Model, domain: str, only: Collection[str] = EXPANSIONS) -> list[Note]:
    """Put their bodies in the place of all nodes of a domain, or of some operators; gives what became of each."""

    def chosen(found: Iterable[ir.Node]) -> list[ir.Node]:
        known = (node for node in found if node.domain == domain and identifier(node) in EXPANSIONS)
        return [node for node in known if identifier(node) in only]

    pending = chosen(nodes(model))[::-1]
    edit, notes = Editor(model) if pending else None, []
    while pending:
        node = pending.pop()
        assert edit is not None
        name = label(node)
        edit.replaced.clear()
        if node.op_type == "Attention" and node.domain == "":
            node = in_float32(node, edit, partial(_name, name, edit))
        try:
            made = _expand(node, edit)
            result = ", ".join(dict.fromkeys(each.op_type for each in made))
            notes.append(Note("expansion", name, result=result, nodes=tuple(edit.replaced)))
            pending += chosen(made)
        except NoMatch as why:
            notes.append(Note("expansion", name, f"{identifier(node)}: {why}"))
    return notes


def _expand(node: ir.Node, edit: Editor) -> list[ir.Node]:
    """The nodes in its place."""
    expansion = EXPANSIONS[identifier(node)]
    operator = Operator(node, expansion, edit)
    body = expansion.body(operator)
    operator.check()
    made = function("body", ", ".join(operator.inputs), f"\n{body}", ", ".join(operator.outputs), {DOMAIN: VERSION})
    results, inner = list(made.outputs), list(made)
    for formal, given in zip(list(made.inputs), operator.inputs.values(), strict=True):
        formal.replace_all_uses_with(given)
    made.outputs.clear()
    made.graph.remove(inner)
    name = partial(_name, label(node), edit)
    for each in inner:
        each.name = name(each.op_type)
        for value in each.outputs:
            value.name = name(value.name or each.op_type)
    edit.replace(list(operator.outputs.values()), results, inner, node)
    return inner


def _name(base: str, edit: Editor, name: str) -> str:
    return edit.names.unused(f"{base}.{name}")
