"""What the forms of packed weights in a file share: their attributes, as JSON, and their arrays, by role.

    kind        attributes beside it                            arrays (F32 where nothing is said)
    linear      shape [N, K], bits, granularity, group_size,    qweight I8 [N, K]; of 4 bits U8 [N, ceil(K / 2)];
                activations, symmetric, rotate, bias, outliers, scale [], [N], of groups BF16 [N, groups];
                x_bits where it is not 8                        zero_point U8 [N, groups]; bias [N];
                                                                floats [outliers, N]
    conv        shape, stride, padding, dilation, groups, bias  qweight I8 shape; scale [O]; bias [O]
    embedding   shape [V, D], bits                              qweight U8 [V, ceil(D · bits / 8)]; scale, minimum [V]
    lstm,       hidden_size, direction, activations, clip,      alpha, beta F64 [directions, activations];
    gru, rnn    input_forget, linear_before_reset, peepholes,   peepholes [directions, 3, H]; of weight i of direction
                weights: a list for each direction, of linears  d those of a linear, their roles behind "d.i."

`symmetric`, `bias` and `peepholes` are booleans: whether there are zero points, a bias, peepholes. Two 4-bit
integers share a byte. Of a linear, columns 2j (low nibble) and 2j + 1: two's complement, or with zero points the
stored value (0 … 15), which is the integer + zero_point. Of an embedding, columns j (low) and j + ceil(D / 2). A nibble
without a column is 0.

A file may be forged, and compiled code trusts a packed weight. So everything from a file is checked to be something
that the pack functions make, before an object is created. If not, ValueError or TypeError is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arguments import checks
from .container import Tensor

Described = tuple[dict[str, Any], dict[str, Tensor]]
#: Gives the array of a role, having checked that it is there with this type's name and shape.
Take = Callable[[str, str, tuple[int, ...]], np.ndarray]


def given(code: str, array: np.ndarray) -> Tensor:
    """An array that already exists."""
    return Tensor(code, array.shape, lambda: array)


def attributes(about: dict[str, Any], *names: str) -> list[Any]:
    """The attributes: exactly these, beside the kind."""
    if set(about) != {"kind", *names}:
        raise ValueError(f"attributes must be {', '.join(names)}; got {', '.join(about)}")
    return [about[name] for name in names]


def read_shape(value: Any, *axes: int) -> tuple[int, ...]:
    if type(value) is not list or len(value) not in axes or any(type(n) is not int or n < 0 for n in value):
        raise ValueError(f"shape must be {' or '.join(map(str, axes))} sizes; got {checks.describe(value)}")
    return tuple(value)


def flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false; got {checks.describe(value)}")
    return value


def within(name: str, values: np.ndarray, low: int, high: int) -> None:
    if values.size and not (low <= values.min() and values.max() <= high):
        raise ValueError(f"{name} must be from {low} to {high}; got {values.min()} … {values.max()}")


def steps(scale: np.ndarray, most: int, signed: bool = False) -> None:
    """Check scales: not 0, and finite when multiplied by the largest integer."""
    with np.errstate(all="ignore"):
        fine = np.isfinite(scale * np.float32(most)) & (scale != 0 if signed else scale > 0)
    if not fine.all():
        raise ValueError(f"scale must be {'other than 0' if signed else 'positive'}, and finite times {most}")


def read_bias(about: Any, take: Take, count: int) -> np.ndarray | None:
    return take("bias", "F32", (count,)).copy() if flag("bias", about) else None
