"""What follows a linear or a convolution and that its kernel does to the sums while they are in cache.

    ⟨layer⟩[_⟨activation⟩][_residual]    y = activation(layer) + residual

    Linear, LinearLong, Linear16…, LinearGroup⟨g⟩…, FloatLinear, FloatConv_…    activation and residual
    Conv_…                                                                     activation

`residual` is the last input. Fused unless its shape is known to differ from the layer's result. Where dimensions are
not known here, whoever runs it looks at them: a residual that broadcasts is no residual, and the body still right.
"""

from __future__ import annotations

import re

import onnx_ir as ir

from ...functions import ACTIVATIONS, Name, parse
from ...functions import function as of_text
from ...model import DOMAIN
from ..base import Editor, NoMatch, Rewrite, identifier, label

#: Layers that take a residual, and those that do not, by the first part of their names.
_WITH_RESIDUAL = re.compile(
    r"(Linear(16)?(Long)?|LinearGroup\d+(_8)?(_wide|_ties)?)(_outliers)?|FloatLinear|FloatConv_.*"
)
_WITHOUT = re.compile(r"Conv_.*")
#: Of an activation that follows, the name that our kernels have for it.
_FOLLOWING = {
    "dynq.Gelu": "gelu", "dynq.GeluTanh": "gelu_tanh", "dynq.Silu": "silu",
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid",
}  # fmt: skip


def takes_residual(node: ir.Node) -> bool | None:
    """Of a call of a linear or a convolution whether it takes a residual, too; None of any other node."""
    if node.domain != DOMAIN:
        return None
    base = parse(node.op_type).base
    return True if _WITH_RESIDUAL.fullmatch(base) else False if _WITHOUT.fullmatch(base) else None


class Activation(Rewrite):
    name = "activation of a layer"
    anchors = tuple(_FOLLOWING)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        layer = None if node.inputs[0] is None else node.inputs[0].producer()
        if layer is None or takes_residual(layer) is None:
            raise NoMatch("no linear or convolution with constant weights is in front of it")
        if edit.only_user(layer.outputs[0]) is not node:
            raise NoMatch("the result of the layer in front is used elsewhere, too")
        if str(parse(layer.op_type)) != parse(layer.op_type).base:
            raise NoMatch(f"the layer in front, {layer.op_type}, has an activation or a residual already")
        return _extend(layer, node, _FOLLOWING[identifier(node)], None, edit)


class Residual(Rewrite):
    name = "residual of a layer"
    anchors = ("Add",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        reason = "no layer with constant weights that takes a residual is in front of it"
        for one, other in ((0, 1), (1, 0)):
            value, residual = node.inputs[one], node.inputs[other]
            layer = None if value is None else value.producer()
            if value is None or residual is None or layer is None or not takes_residual(layer):
                continue
            if edit.only_user(value) is not node:
                reason = f"the result of {label(layer)} is used elsewhere, too"
            elif parse(layer.op_type).residual:
                reason = f"{label(layer)} has a residual already"
            elif edit.constants.is_constant(residual):
                reason = "the addend is constant"
            elif not edit.may_equal(value, residual):
                reason = f"{residual.name} has another shape than the result of {label(layer)}"
            else:
                return _extend(layer, node, parse(layer.op_type).activation, residual, edit)
        raise NoMatch(reason)


def _extend(layer: ir.Node, node: ir.Node, activation: str | None, residual: ir.Value | None, edit: Editor) -> str:
    """The call of the layer with post-ops, in the place of the node that was the last of them."""
    function = edit.model.functions[layer.op_identifier()]
    name = Name(parse(layer.op_type).base, activation, residual is not None)
    inputs = [*layer.inputs, *([] if residual is None else [residual])]
    call = edit.call(str(name), lambda: with_post_ops(function, name), inputs, layer)
    edit.replace(node.outputs, call.outputs, [call], node)
    return call.op_type


def with_post_ops(function: ir.Function, name: Name) -> ir.Function:
    """The function, followed by the activation that is in the name and not yet in it, and by the residual's sum."""
    proto, steps = ir.serde.serialize_function(function), {}
    if name.activation is not None and parse(function.name).activation is None:
        steps["activation"] = ACTIVATIONS[name.activation]
    if name.residual:
        steps["residual"] = "    y = Add (x, residual)\n"
        proto.input.append("residual")
    for step, text in steps.items():
        for node in proto.node:
            node.output[:] = [f"before_{step}" if each == "y" else each for each in node.output]
        names = {"x": f"before_{step}", "y": "y", "residual": "residual"}
        for node in ir.serde.serialize_function(of_text("step", "x, residual", text)).node:
            node.input[:] = [names.get(each, f"{step}_{each}") for each in node.input]
            node.output[:] = [names.get(each, f"{step}_{each}") for each in node.output]
            proto.node.append(node)
    proto.name = str(name)
    return ir.serde.deserialize_function(proto)


def without_post_ops(function: ir.Function) -> ir.Function:
    """What `with_post_ops` was given: the function alone."""
    proto, name = ir.serde.serialize_function(function), parse(function.name)
    last = "before_activation" if name.activation is not None else "before_residual"
    end = next(i for i, node in enumerate(proto.node) if last in node.output)
    del proto.node[end + 1 :]
    proto.node[end].output[:] = ["y" if each == last else each for each in proto.node[end].output]
    if name.residual:
        proto.input.remove("residual")
    proto.name = name.base
    return ir.serde.deserialize_function(proto)
