"""The form of a model before it is looked at: one opset, no functions of its own, operators of ONNX, valid."""

from __future__ import annotations

import warnings

import onnx_ir as ir
from onnx import defs, version_converter
from onnx_ir.passes import common

from ..arguments.errors import UnsupportedModelError
from .constants import Constants
from .expand import expand
from .model import DOMAIN, IR_VERSION, OPSET, RECEIPT, SMALL_BYTES, relaxed, weights_back, weights_led_past
from .names import nodes
from .padding import explicit_pads
from .rewrites.base import Editor, label

#: The oldest opset that is taken; and the domain of operators of ONNX Runtime, which are expanded.
OLDEST, RUNTIME = 9, "com.microsoft"
#: Operators of ONNX that may have a weight which is found in their expansion only.
WEIGHTED = ("Einsum",)


def canonical(model: ir.Model, name: str = "model") -> tuple[ir.Model, list[str]]:
    """The model with its functions inlined and at opset OPSET or newer; and what was put right in it.

    `name` is what errors call it.

    Raises
    ------
    UnsupportedModelError
        Where its opset is older than OLDEST, or onnx cannot raise it.
    """
    version = model.opset_imports.setdefault("", OPSET)
    if version < OLDEST and _is_as_new(model, version):
        version = model.opset_imports[""] = OLDEST
    if version < OLDEST:
        raise UnsupportedModelError(f"{name} must have opset {OLDEST} or newer; got {version}")
    notes = _weights_as_constants(model)
    ours = RECEIPT in model.metadata_props  # else functions of that domain are somebody else's
    if ours:
        has = any(function.domain == DOMAIN for function in model.functions.values())
        stays = f"its functions of domain {DOMAIN} stay" if has else "what is integers stays"
        notes.append(f"the model had been quantized before: {stays}")
    common.InlinePass(lambda function: not (ours and function.domain == DOMAIN))(model)
    for warning in _wrong_grus(model):
        warnings.warn(warning, stacklevel=2)
        notes.append(warning)
    if version < 13:
        _flat_hardmaxes(model)
    if version < OPSET:
        model = _raised(model, name)
    if version < 11:
        _old_resizes(model)
    explicit_pads(model)
    for note in expand(model, RUNTIME) + expand(model, "", WEIGHTED):
        if note.reason:
            notes.append(f"{note.node} stays: {note.reason}")
    return model, notes


def _wrong_grus(model: ir.Model) -> list[str]:
    """PyTorch's GRU resets behind the product; its exporter by torch.export did not say so before June 2026."""
    if model.producer_name != "pytorch":
        return []
    return [
        f"GRU {label(node)} lacks linear_before_reset=1, which PyTorch's has: torch before June 2026 exported it "
        "wrongly, and no runtime gives PyTorch's results; export the model again"
        for node in nodes(model)
        if node.op_type == "GRU" and node.domain == "" and not node.attributes.get_int("linear_before_reset", 0)
    ]


def _is_as_new(model: ir.Model, version: int) -> bool:
    """Whether all operators of an older model are in opset OLDEST what they were in its own."""
    try:
        return all(
            node.domain not in ("", "ai.onnx") or defs.get_schema(node.op_type, OLDEST, "").since_version <= version
            for node in ir.traversal.RecursiveGraphIterator(model.graph)
        )
    except defs.SchemaError:
        return False


def _old_resizes(model: ir.Model) -> None:
    """Resize and Upsample before opset 11 start at the first pixel: onnx's converter says nothing of it."""
    constants = Constants(model)
    for node in nodes(model):
        if node.domain == "" and node.op_type == "Resize" and "coordinate_transformation_mode" not in node.attributes:
            scales = constants.array(node.inputs[2]) if len(node.inputs) > 2 else None
            shrinks = scales is not None and bool((scales <= 1).all())
            given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil" if shrinks else "floor"}
            node.attributes.update({key: ir.AttrString(key, value) for key, value in given.items()})


def _flat_hardmaxes(model: ir.Model) -> None:
    """Hardmax before opset 13, of all axes from one on together: onnx's converter leaves it as it is."""
    found = [node for node in nodes(model) if node.domain in ("", "ai.onnx") and node.op_type == "Hardmax"]
    edit = Editor(model) if found else None
    for node in found:
        assert edit is not None
        x, y = node.inputs[0], node.outputs[0]
        shape = edit.node("Shape", [x])
        flat = edit.node("Flatten", [x], {"axis": node.attributes.get_int("axis", 1)}, like=y)
        hard = edit.node("Hardmax", flat.outputs, {"axis": 1}, like=y)
        back = edit.node("Reshape", [hard.outputs[0], shape.outputs[0]], like=y)
        edit.replace([y], back.outputs, [shape, flat, hard, back], node)


def _weights_as_constants(model: ir.Model) -> list[str]:
    """Weights in the main graph that no caller gives: old files list them as inputs, and branches have their own."""
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    old, freed = (model.ir_version or 0) < 4, []  # the format that wants every initializer to be an input
    for value in list(model.graph.inputs):
        tensor = value.const_value
        if tensor is not None and (old or tensor.nbytes > SMALL_BYTES):
            model.graph.inputs.remove(value)
            freed.append(value.name)
    model.ir_version = max(IR_VERSION, model.ir_version or 0)
    if old or not freed:
        return []
    return [f"no longer inputs, which a caller could replace: {', '.join(map(str, freed))}"]


def _raised(model: ir.Model, name: str) -> ir.Model:
    """At opset OPSET, by onnx's own converter, past which large weights are led: it copies all it is given."""
    own, weights = len(model.graph.inputs), weights_led_past(model)
    try:
        raised = ir.from_proto(version_converter.convert_version(relaxed(ir.to_proto(model)), OPSET))
    except Exception as error:  # the converter has several kinds
        version = model.opset_imports.get("")
        why = f"{name} of opset {version} cannot be raised to {OPSET} by onnx: {error}"
        raise UnsupportedModelError(why) from error
    weights_back(raised, own, weights)
    return raised
