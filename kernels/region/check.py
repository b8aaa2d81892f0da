"""Whether a region can be compiled, and what is in the way."""

from __future__ import annotations

from typing import Any

from .reference import OPERATORS, TYPES, Operand, Region, is_constant

#: More operands than this would not leave the loop a register for its own.
MOST_OPERANDS = 64


def refused(name: str, kinds: tuple[str, ...], kind: str, constants: tuple[object, ...] = ()) -> str:
    """Why an operator with operands of these types, and a result of this one, has no kernel; "" where it has one.

    `constants`: for each operand its value if it is a constant, else None.
    """
    if name not in OPERATORS:
        return f"there is no elementwise kernel for operator {name}"
    operator = OPERATORS[name]
    if len(kinds) not in operator.count:
        return f"{name} has {operator.count.start} operands; got {len(kinds)}"
    if unknown := [each for each in (*kinds, kind) if each not in TYPES]:
        return f"{name} of {unknown[0]}: types are {', '.join(TYPES)}"
    if name == "Cast":
        return ""
    if name == "Where":
        fine = kinds[0] == "bool" and kinds[1] == kinds[2] == kind
        return "" if fine else f"Where chooses by bool between two values of its type {kind}; got {', '.join(kinds)}"
    if name == "Pow":
        return _power_refused(kinds, kind, constants)
    if kinds[0] not in operator.types:
        return f"{name} of {kinds[0]}: it takes {', '.join(t for t in TYPES if t in operator.types)}"
    if any(each != kinds[0] for each in kinds):
        return f"{name} takes operands of one type; got {', '.join(kinds)}"
    wanted = "bool" if operator.boolean else kinds[0]
    return "" if kind == wanted else f"{name} of {kinds[0]} gives {wanted}, not {kind}"


def _power_refused(kinds: tuple[str, ...], kind: str, constants: tuple[object, ...]) -> str:
    if kind != kinds[0]:
        return f"Pow of {kinds[0]} gives {kinds[0]}, not {kind}"
    exponent: Any = constants[1] if len(constants) > 1 else None
    if exponent is None:
        fine = kinds == ("float32", "float32")
    elif kind == "float32":
        fine = True
    else:
        fine = float(exponent) in ((1, 2, 3, 0.5, -0.5, -1) if kind == "float64" else (1, 2, 3))
    return "" if fine else f"Pow of {kinds[0]} by {kinds[1]}: only float32, or by one of a few constants"


def _number(operand: Operand, known: int, what: str) -> str:
    if is_constant(operand):
        return "" if len(operand) == 2 else f"{what}: a constant is (type, value); got {operand!r}"
    fine = isinstance(operand, int) and 0 <= operand < known
    return "" if fine else f"{what}: {operand!r} is no number of a value before it"


def fault(region: Region) -> str:
    """What is wrong with a region; "" if nothing."""
    if unknown := [kind for kind in region.leaves if kind not in TYPES]:
        return f"a leaf of {unknown[0]}: types are {', '.join(TYPES)}"
    types = list(region.leaves)
    for index, (name, operands, kind) in enumerate(region.operations):
        for operand in operands:
            if why := _number(operand, len(types), f"operation {index}, {name}"):
                return why
        kinds = tuple(o[0] if is_constant(o) else types[o] for o in operands)
        constants = tuple(o[1] if is_constant(o) else None for o in operands)
        if why := refused(name, kinds, kind, constants):
            return f"operation {index}: {why}"
        types.append(kind)
    if not region.results or not all(isinstance(r, int) and 0 <= r < len(types) for r in region.results):
        return f"results must be numbers of values, at least one; got {region.results}"
    count = len(region.leaves) + len(region.results)
    return "" if count <= MOST_OPERANDS else f"{count} leaves and results; at most {MOST_OPERANDS}"
