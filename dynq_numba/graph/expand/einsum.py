"""Einsum of one or two inputs as Transpose, MatMul and Reshape: weights and attention are found in these.

    "bthd,bshd->bhts"    a [b, h, t, d] · b [b, h, d, s]                  both transposed
    "bthd,hdk->btk"      a [b, t, (h d)] · b [(h d), k]                   several axes as one

Letters of both and of the result are batches; of both alone, they are summed by the product; of one alone, before it.
Axes are brought to the order batches, own, summed; where there are not one own and one summed, they are joined.
"""

from __future__ import annotations

import re

from ..rewrites.base import NoMatch
from .base import Expansion, Operator, constant


def _einsum(operator: Operator) -> str:
    *lines, last = _body(operator).splitlines(keepends=True)
    same = re.fullmatch(r"    y = Identity \((\w+)\)\n", last)  # the last product is the result, then
    text = "".join(lines)
    return text.replace(f"    {same[1]} = ", "    y = ") if same and f"    {same[1]} = " in text else text + last


def _body(operator: Operator) -> str:
    sides, result = _letters(operator)
    if len(sides) == 1:
        lines, y, letters = _summed("a", sides[0], result, "")
        return lines + _ordered(y, letters, result, "y")
    names, constants = list(operator.inputs), operator.edit.constants
    if constants.is_constant(operator.inputs["a"]) and not constants.is_constant(operator.inputs["b"]):
        names, sides = names[::-1], sides[::-1]  # a weight is the right factor
    a, b = sides
    lines_a, x, a = _summed(names[0], a, result, b)
    lines_b, w, b = _summed(names[1], b, result, a)
    lines = lines_a + lines_b
    batch, summed = _of(result, a, b), [each for each in a if each in b and each not in result]
    left, right = ([each for each in result if each in one and each not in other] for one, other in ((a, b), (b, a)))
    lines += _ordered(x, a, [*batch, *left, *summed], "left") + _ordered(w, b, [*batch, *summed, *right], "right")
    made = [*batch, *left, *right]
    if not summed:
        lines += _longer("left", len(batch + left), len(right)) + _longer("right", len(batch), len(left))
        return lines + "    product = Mul (long_left, long_right)\n" + _ordered("product", made, result, "y")
    plain_left = len(summed) == 1 and (len(left) == 1 or (left and not batch))
    if plain_left and len(right) == 1:
        return lines + "    product = MatMul (left, right)\n" + _ordered("product", made, result, "y")
    _refuse_broadcast(operator, dict(zip(names, sides, strict=True)), [*batch, *summed])
    n = len(batch)
    batches = "batch, " if n else ""
    lines += f"    batch = Shape <start: int = 0, end: int = {n}> (left)\n" if n else ""
    lines += f"""
    left_axes = Shape <start: int = {n}, end: int = {n + len(left)}> (left)
    summed_axes = Shape <start: int = {n}, end: int = {n + len(summed)}> (right)
    right_axes = Shape <start: int = {n + len(summed)}> (right)
    left_size = ReduceProd (left_axes)
    summed_size = ReduceProd (summed_axes)
    right_size = ReduceProd (right_axes)
    left_shape = Concat <axis: int = 0> ({batches}left_size, summed_size)
    right_shape = Concat <axis: int = 0> ({batches}summed_size, right_size)
    shape = Concat <axis: int = 0> ({batches}left_axes, right_axes)
    columns = Reshape (right, right_shape)
"""
    rows = "left"
    if not plain_left:
        lines += "    rows = Reshape (left, left_shape)\n"
        rows = "rows"
    return lines + f"    product = MatMul ({rows}, columns)\n    split = Reshape (product, shape)\n" \
        + _ordered("split", made, result, "y")  # fmt: skip


def _of(result: list[str], a: list[str], b: list[str]) -> list[str]:
    return [each for each in result if each in a and each in b]


def _letters(operator: Operator) -> tuple[list[list[str]], list[str]]:
    """Letters of each input and of the result; axes that "..." stands for are numbers, counted from the last."""
    equation = operator.string("equation", "").replace(" ", "")
    given, arrow, wanted = equation.partition("->")
    terms = given.split(",")
    if len(terms) != len(operator.inputs):
        raise NoMatch(f"{equation} has {len(terms)} terms, and there are {len(operator.inputs)} inputs")
    sides, most = [], 0
    for term, name in zip(terms, operator.inputs, strict=True):
        before, dots, after = term.partition("...")
        more = operator.rank(name) - len(before) - len(after) if dots else 0
        most = max(most, more)
        sides.append([*before, *map(str, reversed(range(more))), *after])
    many = [str(each) for each in reversed(range(most))]
    if arrow:
        before, dots, after = wanted.partition("...")
        result = [*before, *(many if dots else []), *after]
    else:
        every = [each for side in sides for each in side if each.isalpha()]
        result = [*many, *sorted(each for each in set(every) if every.count(each) == 1)]
    if any(len(set(letters)) < len(letters) for letters in (*sides, result)):
        raise NoMatch(f"in {equation} a letter occurs twice")
    if not set(result) <= {each for side in sides for each in side}:
        raise NoMatch(f"{equation} asks for a letter that no input has")
    return sides, result


def _summed(name: str, letters: list[str], result: list[str], other: list[str] | str) -> tuple[str, str, list[str]]:
    """An input summed over what neither the result nor the other input has: lines, its name, its letters."""
    kept = [each for each in letters if each in result or each in other]
    if len(kept) == len(letters):
        return "", name, letters
    axes = [axis for axis, each in enumerate(letters) if each not in kept]
    lines = constant(f"{name}_alone", axes) + f"    {name}_sum = ReduceSum <keepdims: int = 0> ({name}, {name}_alone)\n"
    return lines, f"{name}_sum", kept


def _ordered(name: str, letters: list[str], wanted: list[str], to: str) -> str:
    """A Transpose to another order of letters."""
    perm = [letters.index(each) for each in wanted]
    if perm == sorted(perm):
        return f"    {to} = Identity ({name})\n"
    return f"    {to} = Transpose <perm: ints = [{', '.join(map(str, perm))}]> ({name})\n"


def _longer(name: str, place: int, count: int) -> str:
    """Axes of length 1 from a place on."""
    if not count:
        return f"    long_{name} = Identity ({name})\n"
    lines = constant(f"{name}_more", list(range(place, place + count)))
    return lines + f"    long_{name} = Unsqueeze ({name}, {name}_more)\n"


def _refuse_broadcast(operator: Operator, sides: dict[str, list[str]], shared: list[str]) -> None:
    """Raise `NoMatch` where an axis of length 1 may serve a longer one: axes that are joined cannot."""
    for letter in shared:
        dims = []
        for name, side in sides.items():
            known = operator.edit.dims(operator.inputs[name])
            dims.append(None if known is None else known[side.index(letter)])
        if (1 in dims or letter.isdigit()) and len(set(dims)) > 1:
            raise NoMatch(f"axis {letter} has length 1 in one input, and may be longer in the other")


EXPANSIONS = {"Einsum": Expansion("a, b", "y", _einsum)}
