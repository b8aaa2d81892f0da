"""Rotary position embeddings, and their tables."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.matrices import delivered, target_of
from ...arguments.rows import canonical, check_out, float_axes, threads_asked
from . import backend

#: 2π, to more digits than are used.
TWO_PI = Decimal("6.28318530717958647692528676655900576839433879875021")
#: Bits of each of two parts of a frequency whose products with a position below 2^31 are exact in float64.
PART_BITS = 22


def rotary(
    x: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    positions: np.ndarray | None = None,
    *,
    offset: int = 0,
    interleaved: bool = False,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Rotate pairs of values of each row by the angles of its position: (a·cos - b·sin, b·cos + a·sin).

    Parameters
    ----------
    x : array [..., S, D] of float16, float32, float64 or bfloat16
        S positions of D values each; any strides. Computed in float32.
    cos, sin : array [P, H] of floats, 2H ≤ D
        From `rotary_tables`: row p for position p. Values from 2H on stay as they are.
    positions : array of integers, optional
        Broadcast to x's shape without the last axis: [S], [B, 1, S], or [S, 1] for x [B, S, heads, D].
    offset : int
        Without `positions`: the position of the first of the S rows. The others follow.
    interleaved : bool
        False: pairs are (d, d + H), as in Hugging Face's "rotate half". True: (2d, 2d + 1), as in GPT-J.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array, shape of x

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.

    Notes
    -----
    Error, for tables as given: at most 2.1·2^-24·(|a·cos| + |b·sin|) + 2^-148.
    Sources: Su et al., RoFormer (2021); ONNX RotaryEmbedding-23.

    Examples
    --------
    >>> import numpy as np
    >>> cos, sin = rotary_tables(3, 2)
    >>> rotary(np.array([[1.0, 0.0], [1.0, 0.0]]), cos, sin, offset=1).round(4)
    array([[ 0.5403,  0.8415],
           [-0.4161,  0.9093]], dtype=float32)
    """
    if type(x) is ndarray and type(interleaved) is bool and (positions is None or offset == 0):
        y = empty(x.shape, F32) if out is None else out
        if backend.rotary(x, cos, sin, positions, offset, interleaved, y, threads):
            return y
    x = float_axes("x", x)
    cos, sin = _table("cos", cos), _table("sin", sin)
    if cos.shape != sin.shape:
        raise ValueError(f"sin must have the shape of cos, {cos.shape}; got {sin.shape}")
    if 2 * cos.shape[1] > x.shape[-1]:
        raise ValueError(f"cos must have at most {x.shape[-1] // 2} columns, half of x's last axis; got {cos.shape}")
    interleaved, offset = checks.boolean("interleaved", interleaved), checks.integer("offset", offset)
    if positions is not None and offset != 0:
        raise ValueError(f"offset must be 0 where positions are given; got {offset}")
    places = _places(positions, offset, x.shape, len(cos))
    count = threads_asked(threads)
    check_out(out, x.shape)
    rows = np.ascontiguousarray(x).reshape(places.size, x.shape[-1])
    target = target_of(out, rows.shape, x, cos, sin)
    if rows.size:
        backend.ready(count, rows.size)
        backend.rotary(rows, cos, sin, places, 0, bool(interleaved), target, count, True)
    return delivered(target.reshape(x.shape), out)


def _table(name: str, value: Any) -> np.ndarray:
    return np.ascontiguousarray(canonical(checks.float_array(name, value, ndim=2)))


def _places(positions: Any, offset: int, shape: tuple[int, ...], limit: int) -> np.ndarray:
    """int64 positions of all rows of x, below `limit`."""
    rows = shape[:-1]
    if positions is None:
        length = rows[-1] if rows else 1
        if not 0 <= offset <= max(0, limit - length):
            raise ValueError(f"offset must be from 0 to {max(0, limit - length)} for these tables and x; got {offset}")
        if length > limit:
            raise ValueError(f"cos must have at least {length} rows, one for each position; got {limit}")
        given = np.arange(offset, offset + length)
    else:
        given = checks.integers("positions", checks.plain("positions", positions, "a numpy array of integers"))
        if given.size and not 0 <= given.min() <= given.max() < limit:
            raise ValueError(f"positions must be in [0, {limit}), the tables' rows; got {given.min()} to {given.max()}")
    try:
        return np.array(np.broadcast_to(given, rows), np.int64).reshape(-1)
    except ValueError:
        raise ValueError(f"positions must broadcast to {rows}, x without its last axis; got {given.shape}") from None


def rotary_tables(
    positions: int | np.ndarray, dim: int, base: float = 10000.0
) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of position · base^(-2i/dim), for i below dim/2.

    Parameters
    ----------
    positions : int, or array of integers or floats
        An int n stands for positions 0 … n - 1. An array holds the positions, such as ``np.arange(n) / 4`` to stretch a
        context.
    dim : int
        How many values of a row are rotated: even and positive.
    base : float
        Greater than 0.

    Returns
    -------
    cos, sin : float32 array [positions, dim/2]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    The error is at most 0.51 ulp or 2^-40, for integers below 2^31. The bits are the same on every machine: frequencies
    come from decimal arithmetic, turns are reduced exactly, and sine and cosine are float64 polynomials without libm.
    (In usual tables the angles are float32 products; they are off by position·2^-24 radians.)
    Source: Su et al., RoFormer (2021), 3.2.2.

    Examples
    --------
    >>> cos, sin = rotary_tables(2, 4)
    >>> cos.round(4), sin.round(4)
    (array([[1.    , 1.    ],
           [0.5403, 1.    ]], dtype=float32), array([[0.    , 0.    ],
           [0.8415, 0.01  ]], dtype=float32))
    """
    dim, base = checks.integer("dim", dim), checks.number("base", base)
    if dim <= 0 or dim % 2:
        raise ValueError(f"dim must be even and positive; got {dim}")
    if not 0 < base < np.inf:
        raise ValueError(f"base must be positive and finite; got {base}")
    place = _positions(positions)[:, None]
    high, middle, low = _turns(dim, base)
    # Whole turns are removed before anything is added. The rest is exact except for the last product.
    turn = _fraction(place * high) + _fraction(place * middle) + place * low
    return _cos_sin(_fraction(turn))


def _positions(positions: Any) -> np.ndarray:
    if checks.is_integer(positions):
        if positions < 0:
            raise ValueError(f"positions must not be a negative length; got {positions}")
        return np.arange(int(positions), dtype=np.float64)
    if not isinstance(positions, ndarray) or positions.dtype.kind not in "iuf":
        raise TypeError(f"positions must be an integer or an array of numbers; got {checks.describe(positions)}")
    if positions.ndim != 1 or not np.isfinite(positions).all():
        raise ValueError(f"positions must be finite and have one dimension; got {checks.describe(positions)}")
    return positions.astype(np.float64)


def _turns(dim: int, base: float) -> tuple[np.ndarray, ...]:
    """base^(-2i/dim) / 2π, turns per position, as the sum of two floats of PART_BITS bits and a rest."""
    parts = []
    with localcontext() as context:
        context.prec = 40
        step = Decimal(base).ln() * -2 / dim
        for i in range(dim // 2):
            left, found = (step * i).exp() / TWO_PI, []
            for _ in range(2):
                mantissa, exponent = np.frexp(float(left))
                found.append(float(np.ldexp(np.trunc(np.ldexp(mantissa, PART_BITS)), int(exponent) - PART_BITS)))
                left -= Decimal(found[-1])
            parts.append((*found, float(left)))
    return tuple(np.array(column) for column in zip(*parts, strict=True))


def _fraction(turns: np.ndarray) -> np.ndarray:
    """Turns less the nearest whole number of them."""
    return turns - np.rint(turns)


def _cos_sin(turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of |turn| ≤ 1/2 in float64: quarter turns by swapping, the rest, |angle| ≤ π/4, by the power series."""
    quarter = np.rint(turn * 4)
    angle = (turn - quarter / 4) * float(TWO_PI)
    square = angle * angle
    cos, sin = np.ones_like(angle), np.ones_like(angle)
    for n in range(8, 0, -1):  # the next terms are below 2^-58
        cos = 1 - cos * square / (2 * n * (2 * n - 1))
        sin = 1 - sin * square / (2 * n * (2 * n + 1))
    sin = sin * angle
    quarter = quarter.astype(np.int64) % 4
    swapped = quarter % 2 == 1
    cos, sin = np.where(swapped, sin, cos), np.where(swapped, cos, sin)
    cos = np.where((quarter == 1) | (quarter == 2), -cos, cos)
    return cos.astype(F32), np.where(quarter >= 2, -sin, sin).astype(F32)
