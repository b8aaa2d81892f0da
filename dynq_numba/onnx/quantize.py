"""quantize: an ONNX model in, a standard ONNX model of integers and a receipt out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from os import PathLike
from typing import Any

import onnx
import onnx_ir as ir

from ..arguments import checks
from ..graph.canonical import canonical
from ..graph.foreign.inventory import quantized_before
from ..graph.formats import FORMATS
from ..graph.layers import OPERATORS
from ..graph.model import RECEIPT, with_true_outputs
from ..graph.names import nodes
from ..graph.quantizer import Progress, quantize_graph
from ..graph.receipt import Receipt
from ..graph.recipe import FLOAT, NOT_INCLUDED, Recipe, Rule, Scheme, patterns, read_recipe
from ..planning.caches import caches, origin
from . import files
from .observation import Data, Observations

#: Between the softmax of attention and its product with the values.
_PASSED = {
    "Cast", "Dropout", "Expand", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Where",
}
#: Reasons that are a user's own will, with which `strict` is content.
_EXCLUDED, FLOATS, _NO_CONV = "excluded", "bits=32", "convolutions are quantized with conv=True"


class CoverageError(ValueError):
    """Weights were left in floats against the caller's will; `receipt` says which and why."""

    def __init__(self, message: str, receipt: Receipt):
        super().__init__(message)
        self.receipt = receipt


def quantize(
    model: str | PathLike[str] | bytes | onnx.ModelProto | ir.Model,
    out: str | PathLike[str] | None = None,
    *,
    recipe: str | PathLike[str] | Mapping[str, Any] | None = None,
    bits: int = 8,
    granularity: str | None = None,
    group_size: int | None = None,
    x_bits: int = 8,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    conv: bool = False,
    format: str = "dynq",
    strict: bool = False,
    require_coverage: float | None = None,
    data: Data | Observations | None = None,
    progress: Progress | None = None,
) -> Receipt:
    """Quantize the weights of an ONNX model; the result is a standard ONNX model, and a receipt accounts for each.

    MatMul, Gemm, LSTM, GRU, RNN, tables of Gather, and on request Conv become functions of domain ``dynq``. Their
    bodies are standard operators, so any runtime computes them, and gets the bits of our kernels from each layer. Sums
    of groups and of recurrent layers have an order, so there other runtimes take several times the float layer's time,
    8-bit groups of 32 the most. An artifact for them is best per channel, or in another `format`.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model
        Opset 9 or newer. It is not changed.
    out : path, optional
        Where the artifact is written, whole or not at all; nowhere by default (`Receipt.model` has it).
    recipe : path of a TOML file, or a mapping
        Ordered rules, of which the first that matches a layer wins (dynq_numba/graph/recipe.py). Layers that match none
        have `bits`, `granularity`, `group_size` and `x_bits`.
    bits : {8, 4, 32}
        Of weights: 8 or 4, or 32 to leave in floats what the recipe does not name.
    granularity : {"per_channel", "per_tensor", "per_group"}, optional
        What shares a scale; by default a channel (8 bits) or a group (4 bits).
    group_size : {32, 64, 128}, optional
        Values of K in a group; 32 unless given.
    x_bits : {8, 16}
        Of what MatMul and Gemm multiply with 8-bit weights, at run time. With 16 (w8a16) the error that is left is that
        of the weights, and products take twice the time.
    include, exclude : regular expressions, optional
        Only these layers, and never those: found in the name of a node or of its weight. Each must match something.
    conv : bool
        Quantize convolutions, too.
    format : {"dynq", "qdq", "nbits", "qoperator", "qoperator_u8s8"}
        How layers are written (docs/howto/formats.md): as functions of ours, or as what other runtimes look for, which
        then round x in ways of their own: weights as DequantizeLinear, as MatMulNBits, or DynamicQuantizeLinear and
        products of integers. Layers that a format does not have stay in floats, with the reason; a scheme that it does
        not have is an error.
    strict : bool
        Raise where a weight stays in floats for another reason than the caller's (32 bits, exclude, include, conv).
    require_coverage : float, optional
        Raise where less than this part of the bytes of weights is quantized, 0 to 1.
    data : mapping of str to array, or iterable of such mappings, optional
        Typical inputs: the arrays of one run by the names of the model's inputs, or several. Rules with `smooth`,
        `outliers` or `gptq` need them; the float model runs on them once, and errors of linears are on them.
    progress : callable, optional
        Called as ``progress(done, layers, name)`` before each layer.

    Returns
    -------
    Receipt
        Every weight: how it is quantized, or why not; bytes and error. It is in the artifact's metadata, too.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed. `CoverageError` from `strict` and `require_coverage`.
        Nothing is written then.
    OSError
        From reading or writing.

    Notes
    -----
    The same model and arguments give the same bytes. Numerics: docs/NUMERICS.md.
    Sources: ONNX operators of opset 21; DynamicQuantizeLinear-11 row by row.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from onnx import helper, numpy_helper
    >>> from dynq_numba.onnx import quantize
    >>> weight = numpy_helper.from_array(np.eye(64, dtype=np.float32), "weight")
    >>> value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 64])
    >>> node = helper.make_node("MatMul", ["x", "weight"], ["y"], "layer")
    >>> model = helper.make_model(helper.make_graph([node], "one", [value("x")], [value("y")], [weight]))
    >>> receipt = quantize(model)
    >>> print(receipt.summary())
    1 of 1 weights quantized, 100.0% of their bytes; weights 16.4 kB -> 4.9 kB; exact: yes
    """
    if require_coverage is not None:
        _fraction("require_coverage", require_coverage)
    given = read_recipe(recipe, OPERATORS)
    excluded = [Rule(Scheme.of(FLOAT), match, reason=_EXCLUDED) for match in patterns("exclude", exclude)]
    rules = [*excluded, *given.rules]
    default = [Rule(Scheme.of(bits, granularity, group_size, x_bits), reason=FLOATS)]
    if default[0].scheme not in (Scheme(), Scheme.of(FLOAT)):  # what has one way only keeps it
        default.insert(0, Rule(Scheme(), ops=("Gather", "LSTM", "GRU", "RNN", "Conv")))
    if not conv:
        default.insert(0, Rule(Scheme.of(FLOAT), ops=("Conv",), reason=_NO_CONV))
    written = FORMATS[checks.choice("format", format, tuple(FORMATS))]
    for i, rule in enumerate(given.rules, 1):
        written.check(rule.scheme, f"rule {i} of the recipe")
    written.check(Scheme.of(bits, granularity, group_size, x_bits), "the call")
    if out is not None:
        files.check_place(out)
    found, digest = files.read(model), files.digest(model)
    source_bytes = files.nbytes(model, found)
    name, pages, theirs = files.called(model, "model"), files.pages_of(found), list[Exception]()
    chosen = Recipe(rules, default, patterns("include", include))

    def before_each(done: int, layers: int, label: str) -> None:
        pages.release()
        try:
            if progress is not None:
                progress(done, layers, label)
        except Exception as error:
            theirs.append(error)
            raise

    before, told = quantized_before(found)
    with files.clear_errors(name, theirs), files.spill(found, out) as keep:
        found, notes = canonical(found, name)
        notes += with_true_outputs(found)
        seen = data if data is None or isinstance(data, Observations) else Observations(data)
        observe = None if seen is None else partial(seen.of, found)
        receipt = quantize_graph(found, chosen, before_each, written, keep, observe)
    pages.release()
    receipt.source_sha256, receipt.source_bytes = digest, source_bytes
    receipt.entries += before
    receipt.notes = notes + receipt.notes + told
    attention = given.attention or (FLOAT if bits == FLOAT or _is_decoder(found.graph) else 8)
    used = [asdict(rule) | {"ops": list(rule.ops)} for rule in [*rules, *default]]
    receipt.recipe = {"rules": used, "attention": attention}
    if any(map(_may_attend, nodes(found))):
        receipt.attention = attention
        if attention != FLOAT:
            receipt.notes.append(f"attention: our session multiplies in {attention} bits, other runtimes in float32")
    _insist(receipt, strict, require_coverage, {rule.reason for rule in given.rules})
    found.metadata_props[RECEIPT] = receipt.to_json()
    receipt.model = found
    if out is not None:
        receipt.artifact_bytes = files.write(found, out)
    return receipt


def _is_decoder(graph: ir.Graph) -> bool:
    """Whether keys that attention takes are a result: in 8 bits, each step would quantize all of a cache again."""
    nodes_of_onnx = [node for node in graph if node.op_type == "Attention"]
    if caches(graph) or any(value.is_graph_output() for node in nodes_of_onnx for value in node.outputs[1:3]):
        return True
    left = [each for value in graph.outputs if len(value.shape or ()) == 4 for each in {value, origin(value)}]
    takers = [use.node for value in left for use in value.uses()]
    for node in takers:  # it grows
        if node.op_type in ("Identity", "Transpose", "Mul"):
            takers += [use.node for use in node.outputs[0].uses()]
    return any(node.op_type == "MatMul" for node in takers)


def _may_attend(node: ir.Node) -> bool:
    """Whether a node is attention, or may be its softmax: one whose result is a factor of a product of activations."""
    if node.op_type != "Softmax":
        return node.op_type == "Attention"
    reached = [node.outputs[0]]  # each value only moves, masks or scales the one that it comes from
    seen = set(reached)
    while reached:
        takers = {use.node for use in reached.pop().uses()}
        if any(each.op_type in ("MatMul", "Einsum") for each in takers):
            return True
        fresh = {value for each in takers if each.op_type in _PASSED for value in each.outputs} - seen
        reached += fresh
        seen |= fresh
    return False


def _fraction(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1; got {value!r}")


def _insist(receipt: Receipt, strict: bool, coverage: float | None, reasons: set[str]) -> None:
    willed = reasons | {_EXCLUDED, FLOATS, _NO_CONV, Rule.reason, NOT_INCLUDED.reason}
    against = [entry for entry in receipt.kept if entry.reason not in willed]
    if strict and against:
        some = "; ".join(f"{entry.weight}: {entry.reason}" for entry in against[:10])
        raise CoverageError(f"strict: {len(against)} of {len(receipt.entries)} weights stay in floats: {some}", receipt)
    if coverage is not None and receipt.coverage < coverage:
        raise CoverageError(f"coverage is {receipt.coverage:.1%}; at least {coverage:.1%} is required", receipt)
