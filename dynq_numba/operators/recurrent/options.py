"""The options of a recurrent layer: direction, activations with their alphas and betas, clip."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import checks
from ...kernels.recurrent.reference_activations import ACTIVATIONS
from .packed import Options

#: The names of a direction's activations where none are given.
DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
DIRECTIONS = ("forward", "reverse", "bidirectional")


def switch(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, int, np.bool_)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False; got {checks.describe(value)}")
    return bool(value)


def layer_options(
    kind: str, count: int, direction: Any, names: Any, alpha: Any, beta: Any, clip: Any, coupled: bool = False,
    before: bool = False,
) -> Options:  # fmt: skip
    """The checked options of a layer of `count` directions, defaults filled in."""
    if direction is None:
        direction = "forward" if count == 1 else "bidirectional"
    checks.choice("direction", direction, DIRECTIONS)
    if (direction == "bidirectional") != (count == 2):
        raise ValueError(f"direction must fit W's {count} direction{'s'[: count - 1]}; got {direction!r}")
    wanted = len(DEFAULTS[kind])
    names = DEFAULTS[kind] if names is None else names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"activations must be a sequence of names; got {checks.describe(names)}")
    chosen = [name.lower() for name in names]
    chosen *= count if len(chosen) == wanted else 1
    if len(chosen) != wanted * count:
        raise ValueError(f"activations must be {wanted} names, or {wanted} per direction; got {len(names)}")
    for name in chosen:
        checks.choice("activations", name, ACTIVATIONS)
    if clip is not None:
        clip = checks.number("clip", clip, "a positive number or None")
        if not 0 < clip <= float(np.finfo(np.float32).max):
            raise ValueError(f"clip must be positive and finite in float32; got {checks.describe(clip)}")
    def each(values: list) -> tuple[tuple, ...]:
        """Direction by direction."""
        return tuple(tuple(values[i * wanted : (i + 1) * wanted]) for i in range(count))

    alphas = _numbers("activation_alpha", alpha, chosen, 0)
    betas = _numbers("activation_beta", beta, chosen, 1)
    return Options(direction, each(chosen), each(alphas), each(betas), clip, coupled, before)


def _numbers(name: str, given: Any, activations: list[str], which: int) -> list[float]:
    """Alphas (`which` 0) or betas of the activations: the given ones in order for those that have one, or defaults."""
    if given is not None and not isinstance(given, (list, tuple, np.ndarray)):
        raise TypeError(f"{name} must be a sequence of numbers or None; got {checks.describe(given)}")
    left = [float(value) for value in given] if given is not None else []
    values = []
    for activation in activations:
        defaults = ACTIVATIONS[activation][1]
        value = defaults[which] if which < len(defaults) else 0.0
        values.append(left.pop(0) if left and which < len(defaults) else value)
    if left:
        raise ValueError(f"{name} has {len(left)} more than the activations {', '.join(activations)} take")
    return values
