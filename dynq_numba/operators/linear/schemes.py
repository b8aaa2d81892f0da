"""Weight quantization schemes, and the choice among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arguments import checks
from ...arguments.literals import Bits, Granularity, GroupSize
from . import backend

#: Groups along K that the kernels have.
GROUP_SIZES: tuple[GroupSize, ...] = (32, 64, 128)
GRANULARITIES: tuple[Granularity, ...] = ("per_tensor", "per_channel", "per_group")
#: A group's scale is a bfloat16.
SCALE_BYTES = 2
#: Largest magnitude of a quantized weight.
LIMITS: dict[Bits, int] = {8: 127, 4: 7}
#: choose_scheme's defaults: no worse than per_channel by more than this factor, and below this error where a
#: finer scheme can do that (so 4 bits, whose error is 0.08 at best on a bell curve, take the finest).
NEAR_PER_CHANNEL = 1.05
ACCEPTABLE_ERROR = 0.05


@dataclass(frozen=True)
class Candidate:
    """One scheme, its size and its error.

    Attributes
    ----------
    granularity : str
        "per_tensor", "per_channel" or "per_group".
    group_size : int or None
        How many values of k share a scale, for "per_group".
    bits : int
    error : float
        Frobenius norm of the rounding error over that of the weight.
    nbytes : int
        Bytes of integers and scales.
    """

    granularity: Granularity
    group_size: GroupSize | None
    bits: Bits
    error: float
    nbytes: int

    @property
    def scheme(self) -> str:
        """The scheme in one word, as `PackedLinear.scheme` has it."""
        return scheme_name(self.bits, self.granularity, self.group_size)


@dataclass(frozen=True)
class Choice(Candidate):
    """The chosen scheme, for ``pack_linear(weight, scheme=choice)``.

    Attributes
    ----------
    max_error : float
        The error that was allowed, or the limit used for None.
    within : bool
        Whether `error` is at most that. False: no scheme reaches it, and this is the most accurate one.
    candidates : tuple of Candidate
        All schemes that were tried, cheapest first.
    """

    max_error: float
    candidates: tuple[Candidate, ...]

    @property
    def within(self) -> bool:
        return self.error <= self.max_error


def scheme_name(bits: int, granularity: str, group_size: int | None, symmetric: bool = True) -> str:
    """A scheme in one word: "int8_per_channel", "int4_per_group_32", with zero points "uint4_per_group_32"."""
    return f"{'' if symmetric else 'u'}int{bits}_{granularity}{f'_{group_size}' if group_size else ''}"


def parsed_scheme(scheme: Any) -> tuple[Bits, Granularity, GroupSize | None, bool]:
    """bits, granularity, group size and whether symmetric, of a Candidate or a scheme in one word."""
    if isinstance(scheme, Candidate):
        return scheme.bits, scheme.granularity, scheme.group_size, True
    if not isinstance(scheme, str):
        raise TypeError(f"scheme must be a Choice from choose_scheme or a string; got {checks.describe(scheme)}")
    if scheme not in _SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(map(repr, _SCHEMES))}; got {scheme!r}")
    return _SCHEMES[scheme]


#: Every scheme by its name.
_SCHEMES: dict[str, tuple[Bits, Granularity, GroupSize | None, bool]] = {
    scheme_name(*each): each
    for each in (
        *((bits, granularity, None, True) for bits in LIMITS for granularity in GRANULARITIES[:2]),
        *((bits, "per_group", size, True) for bits in LIMITS for size in GROUP_SIZES),
        *((4, "per_group", size, False) for size in GROUP_SIZES),
    )
}


def quantize_weight(
    weight: np.ndarray, bits: Bits, granularity: Granularity, group_size: GroupSize | None, symmetric: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """q int8 [N, K], scale float32 and zero point of float32 weight [N, K].

    scale is [1, 1] per tensor, [N, 1] per channel, [N, groups] per group; zero_point None, or uint8 like scale.
    """
    n, k = weight.shape
    if granularity == "per_group":
        assert group_size is not None
        if bits == 8:
            return *backend.quantize_weight(weight, group_size, LIMITS[bits], True), None
        q, scale, zero_point = backend.search_groups(weight, group_size, not symmetric)
        return q, scale, None if symmetric else zero_point
    rows = weight.reshape(1, -1) if granularity == "per_tensor" else weight
    q, scale = backend.quantize_weight(rows, max(1, rows.shape[1]), LIMITS[bits], False)
    return q.reshape(n, k), scale, None


def expand(scale: np.ndarray, k: int, group_size: int | None) -> np.ndarray:
    """The scale of every weight: what `quantize_weight` gives, as something that broadcasts with [N, K]."""
    return np.repeat(scale, group_size, axis=1)[:, :k] if group_size else scale


def _norm(values: np.ndarray) -> float:
    """Frobenius norm of float64 values, which are squared in place. (BLAS ends the process when it finds no memory.)"""
    return math.sqrt(np.square(values, out=values).sum())


def _candidates(weight: np.ndarray, bits: Bits) -> list[Candidate]:
    n, k = weight.shape
    exact = weight.astype(np.float64)
    norm = _norm(exact.copy()) or 1.0
    plans: list[tuple[Granularity, GroupSize | None]] = [("per_tensor", None), ("per_channel", None)]
    # One group over all of k is per_channel in 8 bits; in 4 bits, its scale is a better one.
    plans += [("per_group", size) for size in reversed(GROUP_SIZES) if size < max(k, 33 if bits == 4 else 0)]
    found = []
    for granularity, size in plans:
        q, scale, _ = quantize_weight(weight, bits, granularity, size)
        # float64 throughout: numpy ends the process when it finds no memory for the buffers that mixed types take.
        gap = q.astype(np.float64)
        gap *= expand(scale.astype(np.float64), k, size)
        np.subtract(exact, gap, out=gap)
        nbytes = -(-n * k * bits // 8) + scale.size * (SCALE_BYTES if size else 4)
        found.append(Candidate(granularity, size, bits, _norm(gap) / norm, nbytes))
    return sorted(found, key=lambda c: c.nbytes)


def choose_scheme(weight: np.ndarray, max_error: float | None = None, *, bits: Bits = 8) -> Choice:
    """The cheapest weight scheme within an error: per tensor, per channel, or per group of 32, 64 or 128.

    Parameters
    ----------
    weight : array [N, K] of floats
        Output channels by inputs.
    max_error : float, optional
        Largest relative error (Frobenius norm of the rounding error over that of the weight). If no scheme reaches it,
        the most accurate one is chosen, and `within` is False. By default a scheme must be as good as per_channel
        (within 5 %), or finer if per_channel's error is above 0.05: with 4 bits, nearly always groups of 32.
    bits : {8, 4}
        Bits of a quantized weight.

    Returns
    -------
    Choice
        For ``pack_linear(weight, scheme=choice)``. It has the `scheme` in one word, its `granularity`, `group_size` and
        `bits`, its `error` and `nbytes`, `within` (whether the error is allowed), and all `candidates`, cheapest first.

    Raises
    ------
    TypeError, ValueError
        Names the argument: weight not a finite float matrix, max_error negative or NaN, bits unknown.

    Notes
    -----
    The errors are exact, not estimates: every candidate is quantized, and compared in float64.
    Source: the rule is this package's own; the schemes are those of `pack_linear`.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    >>> choose_scheme(rows).granularity
    'per_channel'
    >>> choose_scheme(rows, max_error=0.02).granularity
    'per_tensor'
    >>> rows[:, 0] *= 100   # one large input: every channel's scale is too coarse
    >>> choose_scheme(rows, max_error=0.004).granularity
    'per_group'
    >>> choice = choose_scheme(rows, max_error=0.001)
    >>> choice.within, choice.scheme
    (False, 'int8_per_group_32')
    >>> import dynq_numba as dq
    >>> dq.pack_linear(rows, scheme=choice).scheme
    'int8_per_group_32'
    """
    weight = weight_matrix(weight)
    checks.choice("bits", bits, LIMITS)
    candidates = _candidates(weight, bits)
    if max_error is None:
        per_channel = next(c for c in candidates if c.granularity == "per_channel")
        max_error = min(NEAR_PER_CHANNEL * per_channel.error, ACCEPTABLE_ERROR)
    elif not checks.number("max_error", max_error, "a number or None") >= 0:
        raise ValueError(f"max_error must be at least 0; got {max_error}")
    within = [c for c in candidates if c.error <= max_error]
    best = within[0] if within else min(candidates, key=lambda c: c.error)
    return Choice(**vars(best), max_error=float(max_error), candidates=tuple(candidates))


def weight_matrix(weight: Any) -> np.ndarray:
    """A finite float32 matrix."""
    weight = checks.float_array("weight", weight, ndim=2)
    if not np.isfinite(weight).all():
        raise ValueError("weight must be finite in float32; it holds NaN, an infinity or a value beyond float32")
    return weight
