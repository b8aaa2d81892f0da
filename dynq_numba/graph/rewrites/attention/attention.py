"""Scaled dot-product attention around a Softmax: dq.attention.

    Attention[_3d][_grouped][_causal | _topleft][_lengths][_bias][_8]     function.py says what each computes

    q ─ scale? ─┐                                                   v ─┐
                MatMul ─ scale? ─ mask* ─ Softmax ─ NaN to 0? ─ Dropout? ─ MatMul ─▶ y
    k ─ scale? ─ Transpose ─ scale? ─┘

A scale is Mul or Div by a constant, in any of these places and in several; a mask is an Add, or a Where with a number
below -1000 for keys that are not seen. A triangle becomes `causal` (causal.py); all other masks together become one
bias. A row that sees no key (all -inf) is zeros, as dq.attention has it; a plain softmax makes NaN of it. A row for
which a Where leaves no key but a finite number weighs its keys by their scores, where the exporter's weighs them
equally; it is zeros where that number is in a triangle. v of keys that a triangle or lengths hide is not read: inf or
NaN in it, times the weight 0, is NaN in ONNX. Heads of k and v that were repeated are taken before that (groups.py).

The Transposes and Reshapes around q, k, v and y stay: they are views.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite, identifier, label
from ..matching.shapes import is_axis, parts
from .causal import NEVER, causal, lengths_in
from .function import attention
from .groups import before_repeat

#: What a Where must put in the place of a score to be a mask.
HIDDEN = -1000.0


@dataclass
class _Scores:
    """q · kᵀ · factor + bias, of which q and k may still have to be made."""

    q: ir.Value
    k: ir.Value
    factor: float
    bias: ir.Value | None = None
    #: Which keys are before a row, by the name that functions have for it.
    causal: str = ""
    #: How many keys each batch has.
    lengths: ir.Value | None = None
    nodes: list[ir.Node] = field(default_factory=list)


class Attention(Rewrite):
    name = "attention"
    anchors = ("Softmax",)

    def __init__(self, bits: int = 32) -> None:
        self.bits = bits

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        scores, last = node.inputs[0], _product(node, edit)
        assert scores is not None
        rank = edit.rank(scores)
        if rank not in (3, 4):
            raise NoMatch(f"the scores have {rank} axes; attention has 3 or 4")
        if node.attributes.get_int("axis", -1) not in (-1, rank - 1):
            raise NoMatch(f"softmax along axis {node.attributes.get_int('axis', -1)} of {rank}")
        edit.check_float(scores)
        v = last.inputs[1]
        assert v is not None
        found = _scores(scores, edit)
        for role, value in (("q", found.q), ("k", found.k), ("v", v)):
            if edit.rank(value) != rank:
                raise NoMatch(f"{role} has {edit.rank(value)} axes, the scores have {rank}")
            if edit.constants.is_constant(value):
                raise NoMatch(f"{role} is constant")
        scale = edit.constant(f"{label(last)}.scale", np.float32(found.factor))
        (k, times), (few, again) = before_repeat(found.k, edit), before_repeat(v, edit)
        grouped = times == again > 1
        if grouped:
            found.k, v = k, few
        _check_broadcasts(found, scores, v, edit)
        inputs = [found.q, found.k, v, scale, *([] if found.bias is None else [found.bias]),
                  *([] if found.lengths is None else [found.lengths])]  # fmt: skip
        flags = {"3d": rank == 3, "grouped": grouped, found.causal: bool(found.causal),
                 "lengths": found.lengths is not None, "bias": found.bias is not None}
        name = "_".join(["Attention", *(flag for flag, given in flags.items() if given), *["8"] * (self.bits == 8)])
        call = edit.call(name, partial(attention, name), inputs, last)
        edit.replace(last.outputs, call.outputs, [*found.nodes, call], last)
        return call.op_type


def _check_broadcasts(found: _Scores, scores: ir.Value, v: ir.Value, edit: Editor) -> None:
    """Raises `NoMatch` where an axis of length 1 serves a longer one: of q, k and v, attention spreads heads only."""
    q, k, values, whole = (edit.dims(each) or (None,) * edit.rank(v) for each in (found.q, found.k, v, scores))
    pairs = [*zip((*q[:-1], k[-2]), whole, strict=True), (k[-3], values[-3]), (values[-3], k[-3])]
    if len(whole) == 4:
        pairs += [(q[0], k[0]), (k[0], q[0]), (q[0], values[0]), (values[0], q[0])]
    if any(one == 1 and other not in (1, None) for one, other in pairs):
        raise NoMatch("a product or a mask broadcasts: an axis of length 1 serves a longer one")


def _product(softmax: ir.Node, edit: Editor) -> ir.Node:
    """The MatMul of the weights with v."""
    weights = softmax.outputs[0]
    users = {use.node for use in weights.uses()}
    guards = [user for user in users if identifier(user) == "IsNaN"]
    if len(users) == 2 and len(guards) == 1:  # NaN to 0: a row that sees no key
        (where,) = users - set(guards)
        chosen = edit.only_user(guards[0].outputs[0])
        whole = where is chosen and identifier(where) == "Where" and where.inputs[2] is weights
        if whole and edit.scalar(where.inputs[1]) == 0:
            weights = where.outputs[0]
    user = edit.only_user(weights)
    if user is None:
        raise NoMatch(f"the weights {weights.name} are used in several places, or a result of the graph")
    if identifier(user) != "MatMul" or user.inputs[0] is not weights:
        raise NoMatch(f"{identifier(user)} takes the weights, where attention has a MatMul with v")
    return user


def _scores(value: ir.Value, edit: Editor) -> _Scores:
    """What is known of scores, from the mask back to q and k."""
    node = value.producer()
    if node is None:
        raise NoMatch(f"the scores {value.name} are given, not computed of q and k")
    kind = identifier(node)
    if kind == "MatMul":
        return _matmul(node, edit)
    if kind in ("Mul", "Div"):
        inner, factor = _unscaled(value, edit)
        found = _scores(inner, edit) if inner is not value else None
        if found is None or found.bias is not None or found.causal or found.lengths is not None:
            raise NoMatch(f"{kind} of scores, not by a constant, or after a mask")
        found.factor *= factor
        return found
    if kind == "Add":
        for one, other in ((0, 1), (1, 0)):
            term, bias = node.inputs[one], node.inputs[other]
            if term is not None and bias is not None and _leads_to_product(term, edit):
                found = _scores(term, edit)
                _add_mask(found, bias, edit)
                return found
        raise NoMatch(f"no side of Add {label(node)} is q · kᵀ")
    if kind == "Where":
        return _where(node, edit)
    raise NoMatch(f"{kind} gives the scores, which attention has from MatMul, Mul, Div, Add and Where")


def _add_mask(found: _Scores, mask: ir.Value, edit: Editor) -> None:
    """A mask, or each side of a sum of two, as a triangle or as a bias."""
    where = edit.maker(mask, "Where")
    if where is not None and found.bias is None and not found.causal:  # of booleans
        numbers = [edit.scalar(each) for each in where.inputs[1:]]
        hidden = next((each for each in numbers if each is not None and each <= NEVER), None)
        if hidden is not None and 0 in numbers:
            _choose(where.inputs[0], hidden, numbers.index(hidden), found, edit, mask)
            return
    add = edit.maker(mask, "Add")
    terms = [mask] if add is None else [each for each in add.inputs if each is not None]
    kinds = [causal(term, found.q, found.k, edit, additive=True) for term in terms]
    if not found.causal and found.lengths is None and any(kinds):
        found.causal = next(filter(None, kinds))
        terms = [term for term, kind in zip(terms, kinds, strict=True) if kind != found.causal]
    else:
        terms = [mask]
    for term in terms:
        if found.bias is not None:
            found.nodes.append(edit.node("Add", [found.bias, term], like=term))
            term = found.nodes[-1].outputs[0]
        found.bias = term


def _without_triangle(
    condition: ir.Value | None, found: _Scores, edit: Editor, *, inverted: bool
) -> ir.Value | None:
    """What is left of a condition, or of one that joins two, without a triangle in it; None where nothing is."""
    join = edit.maker(condition, "Or" if inverted else "And")
    sides = [condition] if join is None else list(join.inputs)
    for i, side in enumerate(sides):
        kind = "" if side is None else causal(side, found.q, found.k, edit, additive=False, inverted=inverted)
        if kind:
            found.causal = kind
            return sides[1 - i] if len(sides) == 2 else None
    return condition


def _where(node: ir.Node, edit: Editor) -> _Scores:
    """Where (seen, scores, hidden) or Where (unseen, hidden, scores): a bias of 0 and hidden."""
    condition, *choices = node.inputs
    numbers = [edit.scalar(each) for each in choices]
    if (numbers[0] is None) == (numbers[1] is None):
        raise NoMatch(f"Where {label(node)} does not choose between scores and a number")
    place = 0 if numbers[0] is not None else 1
    hidden, inner = numbers[place], choices[1 - place]
    assert hidden is not None and inner is not None
    if not hidden <= HIDDEN:
        raise NoMatch(f"Where {label(node)} puts {hidden} in the place of scores; a mask has at most {HIDDEN}")
    condition = _unexpanded(condition, inner, edit)
    found = _scores(inner, edit)
    _choose(condition, hidden, place, found, edit)
    return found


def _choose(
    condition: ir.Value | None, hidden: float, place: int, found: _Scores, edit: Editor, mask: ir.Value | None = None
) -> None:
    """Put a number in the place of scores where a condition is true (place 0) or false (1).

    `mask`: a value that has this number there already, and else 0.
    """
    if hidden == -np.inf and place == 1 and not found.causal and found.lengths is None:
        found.lengths, found.causal = lengths_in(condition, found.q, found.k, edit)
        if found.lengths is not None:
            return
    if hidden <= NEVER and not found.causal and found.lengths is None:
        rest = _without_triangle(condition, found, edit, inverted=place == 0)
        if rest is None:
            return
        mask, condition = mask if rest is condition else None, rest
    if mask is None:
        kept = edit.constant("zero", np.float32(0)) if found.bias is None else found.bias
        chosen = [kept, kept]
        chosen[place] = edit.constant("hidden", np.float32(hidden))
        found.nodes.append(edit.node("Where", [condition, *chosen], like=kept))
        mask = found.nodes[-1].outputs[0]
    found.bias = mask


def _unexpanded(mask: ir.Value | None, scores: ir.Value, edit: Editor) -> ir.Value | None:
    """A mask before it was expanded to the shape of the scores, which are then not needed for it."""
    expand = edit.maker(mask, "Expand")
    shape = None if expand is None else edit.maker(expand.inputs[1], "Shape")
    whole = shape is not None and shape.inputs[0] is scores and not shape.attributes
    return expand.inputs[0] if expand is not None and whole else mask


def _leads_to_product(value: ir.Value, edit: Editor) -> bool:
    """Whether q · kᵀ is behind scales and masks: a MatMul of two values that vary."""
    node = value.producer()
    while node is not None and identifier(node) in ("Mul", "Div", "Add", "Where"):
        if identifier(node) in ("Add", "Where"):
            return any(each is not None and _leads_to_product(each, edit) for each in node.inputs)
        varying = edit.operand(node)
        node = None if varying is None else varying[0].producer()
    return node is not None and identifier(node) == "MatMul" and not any(map(edit.constants.is_constant, node.inputs))


def _unscaled(value: ir.Value, edit: Editor) -> tuple[ir.Value, float]:
    """The value before it was multiplied or divided by numbers, and their product."""
    factor = 1.0
    while (node := edit.maker(value, "Mul", "Div")) is not None:
        pair = edit.operand(node)
        number = None if pair is None else edit.scalar(pair[1])
        if pair is None or number is None or (node.op_type == "Div" and (pair[1] is not node.inputs[1] or not number)):
            break
        value, factor = pair[0], factor * (number if node.op_type == "Mul" else 1 / number)
    return value, factor


def _matmul(node: ir.Node, edit: Editor) -> _Scores:
    q, turned = node.inputs
    assert q is not None and turned is not None
    q, factor = _unscaled(q, edit)
    turned, more = _unscaled(turned, edit)
    source, perm = _transposed(turned, edit)
    source, most = _unscaled(source, edit)
    if len(perm) < 2:
        raise NoMatch("a factor is no matrix")
    perm = [*perm[:-2], perm[-1], perm[-2]]
    found = _Scores(q, source, factor * more * most)
    if perm != sorted(perm):  # a view; none is needed where k was transposed for the product
        view = edit.node("Transpose", [source], {"perm": perm}, like=source)
        view.outputs[0].shape = None if source.shape is None else ir.Shape([source.shape[i] for i in perm])
        found.k, found.nodes = view.outputs[0], [view]
    return found


def _transposed(turned: ir.Value, edit: Editor) -> tuple[ir.Value, list[int]]:
    """What was transposed, and how; the value itself where nothing was.

    Also k that was made a stack of matrices for it: [B, H, T, D] ─▶ [B·H, T, D] ─▶ [B·H, D, T] ─▶ [B, H, D, T].
    """
    rank = edit.rank(turned)
    transpose = edit.maker(turned, "Transpose")
    if transpose is not None and transpose.inputs[0] is not None:
        return transpose.inputs[0], list(transpose.attributes.get_ints("perm", list(reversed(range(rank)))))
    plain = (turned, list(range(rank)))
    unstack = edit.maker(turned, "Reshape")
    transpose = None if unstack is None else edit.maker(unstack.inputs[0], "Transpose")
    stack = None if transpose is None else edit.maker(transpose.inputs[0], "Reshape")
    k = None if stack is None else stack.inputs[0]
    if unstack is None or transpose is None or stack is None or k is None or k.shape is None or len(k.shape) != rank:
        return plain
    stacked, unstacked = parts(stack.inputs[1], edit), parts(unstack.inputs[1], edit)
    if stacked is None or unstacked is None or len(stacked) != 3 or len(unstacked) != rank:
        return plain
    perm = [*range(rank - 2), rank - 1, rank - 2]
    same = [*zip(stacked[1:], (rank - 2, rank - 1), strict=True), *zip(unstacked, perm, strict=True)]
    whole = all(is_axis(part, k, axis, edit) for part, axis in same)
    return (k, perm) if whole and list(transpose.attributes.get_ints("perm", ())) == [0, 2, 1] else plain
