"""pack_linear: from a float weight to a PackedLinear."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...arguments import checks, deprecated
from ...arguments.literals import Bits, Granularity, GroupSize, Rotation, XBits, XGranularity
from ...kernels.linear.emit_rotation import BLOCKS
from ...kernels.linear.reference_outliers import without
from ...kernels.linear.reference_rotation import rotate_weight
from . import schemes
from .packed import X_BITS, X_GRANULARITIES, PackedLinear


def pack_linear(
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    bits: Bits = 8,
    granularity: Granularity = "auto",
    group_size: GroupSize | None = None,
    x_granularity: XGranularity = "per_token",
    x_bits: XBits = 8,
    symmetric: bool = True,
    rotate: Rotation | None = None,
    outliers: Sequence[int] | np.ndarray | None = None,
    scheme: schemes.Candidate | str | None = None,
    activations: XGranularity | None = None,
) -> PackedLinear:
    """Quantize and pack the weight of a linear layer, once, for any number of `linear` calls.

    Parameters
    ----------
    weight : array [N, K] of float16, float32, float64 or bfloat16
        Outputs by inputs, as PyTorch stores it; finite.
    bias : array [N] of floats, optional
        What `linear` adds to every row; zeros by default.
    bits : {8, 4}
        Bits of a weight. Integers are symmetric: in [-127, 127], or in [-7, 7] ([-8, 7] in groups).
    granularity : {"auto", "per_channel", "per_tensor", "per_group"}
        Which weights share a scale. "auto" calls `choose_scheme`.
    group_size : {32, 64, 128}, optional
        For "per_group"; 32 by default.
    x_granularity : {"per_token", "per_tensor"}
        Whether `linear` quantizes each row of x separately (then no row's result depends on another) or all of x
        together.
    x_bits : {8, 16}
        Bits of the integers that `linear` makes of x. 16, known as w8a16, divides the error that comes from rounding x
        by 257, for about half the speed. It goes with bits=8, one scale per channel ("auto") or tensor, and neither
        `rotate` nor `outliers`.
    symmetric : bool
        False: a zero point for each group, with bits=4.
    rotate : {16, 32, 64, 128}, optional
        Multiply x and the weight by a Hadamard matrix, in blocks of this many columns. The product does not change, and
        large values in a few columns are spread over a block. `linear` rotates x in its call. K must be a multiple.
    outliers : sequence of int, optional
        Columns of x with large values, from 0 to K - 1, each once. They and their weights stay float32, so they do not
        widen the range of a row. Not together with `rotate`, which spreads such columns.
    scheme : Choice or str, optional
        Instead of `bits`, `granularity`, `group_size` and `symmetric`: the result of `choose_scheme`, or the name of a
        scheme, such as "int4_per_group_32" or, with zero points, "uint4_per_group_32" (see `PackedLinear.scheme`).
    activations : str, optional
        The old name of `x_granularity`, until 0.3.

    Returns
    -------
    PackedLinear

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    ``scale = max|w| / 127`` (8 bits) or ``/ 7`` (4 bits) over the weights that share it; in groups rounded up to
    bfloat16. ``q = clip(rint(w / scale))``, in float32. So ``|w - q·scale| ≤ scale / 2 · (1 + 2^-15)``.

    A group of 4 bits takes, among 32 scales of either sign (16 ranges with zero points), the one with the least squared
    error over the group. So this error is no larger than that of max|w| / 7 (of min … max over 15 steps).

    `rotate`: x·H is computed in float32, by additions in the order of kernels/linear/reference_rotation.py. A value
    above the largest float32 / block may overflow; its row is then NaN. W·H / block is computed in float64 and rounded
    once. All bounds are for these two. Measured (``python -m bench accuracy``, MiniLM, 60 reviews, mean cosine to
    float32): rotate=128 takes 8 bits from .9987 to .9997; rotate=32 takes 4 bits per channel from .901 to .923, in
    groups of 128 from .954 to .959, in groups of 32, which already keep large values to themselves, from .970 to .971.
    More than 32 is worse there.

    `outliers`: x and the weight are quantized with 0 in these columns. The products of these columns are added to
    x · Wᵀ + bias, in float32 by fma, in ascending order (kernels/linear/outliers.py). NaN or an infinity in such a
    column changes its own row only, also with ``x_granularity="per_tensor"``. Measured in the same way, with each
    layer's 4 columns of largest max|x| over 50 other reviews: 8 bits go from .9987 to .9997, 4 bits per channel from
    .901 to .933, in groups of 128 from .954 to .974, of 32 from .970 to .983; 8 columns give .9997, .937, .976 and
    .984. In int8 at 128, 384, 1536 on one thread 4 columns take 6 % more time, 8 take 11 %.

    Sources: ONNX QuantizeLinear-13, symmetric; docs/NUMERICS.md. `outliers`: LLM.int8() (Dettmers et al., 2022), whose
    columns change with x.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(4, 6, dtype=np.float32), granularity="per_channel")
    >>> w.shape, w.scheme
    ((4, 6), 'int8_per_channel')
    >>> dq.linear(np.arange(6, dtype=np.float32), w).round(2)
    array([0., 1., 2., 3.], dtype=float32)
    """
    weight = schemes.weight_matrix(weight)
    if activations is not None:
        deprecated.warn("pack_linear(activations=…)", "say x_granularity=…")
        x_granularity = activations
    if scheme is not None:
        if (bits, granularity, group_size, symmetric) != (8, "auto", None, True):
            raise ValueError("scheme must be given alone, or bits, granularity, group_size and symmetric without it")
        bits, granularity, group_size, symmetric = schemes.parsed_scheme(scheme)
    checks.choice("bits", bits, schemes.LIMITS)
    checks.choice("granularity", granularity, ("auto", *schemes.GRANULARITIES))
    checks.choice("x_granularity", x_granularity, X_GRANULARITIES)
    checks.choice("x_bits", x_bits, X_BITS)
    if group_size is not None:
        checks.choice("group_size", group_size, schemes.GROUP_SIZES)
        if granularity not in ("auto", "per_group"):
            raise ValueError(f'group_size={group_size} goes with granularity="per_group"; got {granularity!r}')
        granularity = "per_group"
    if not checks.boolean("symmetric", symmetric) and (bits != 4 or granularity != "per_group"):
        raise ValueError(
            f'symmetric=False goes with bits=4 and granularity="per_group"; got bits={bits}, {granularity!r}'
        )
    if rotate is not None:
        checks.choice("rotate", rotate, BLOCKS)
        if weight.shape[1] % rotate:
            raise ValueError(f"rotate must divide K, the columns of weight; got rotate={rotate}, K={weight.shape[1]}")
    columns = outlier_columns(outliers, weight.shape[1])
    if columns and rotate is not None:
        raise ValueError(f"outliers must be None with rotate, which spreads every column; got rotate={rotate}")
    if x_bits == 16:
        check_wide(bits, granularity, rotate, columns)
        granularity = "per_channel" if granularity == "auto" else granularity
    if bias is not None:
        bias = checks.float_array("bias", bias, ndim=1)
        if bias.shape != weight.shape[:1]:
            turned = " (weight is [outputs, inputs]: pass weight.T)" if bias.shape == weight.shape[1:] else ""
            expected = f"({weight.shape[0]},), one for each row of weight"
            raise ValueError(f"bias must have shape {expected}; got {bias.shape}{turned}")
        bias = np.array(bias)
    if rotate is not None:
        weight = rotate_weight(weight, rotate)
    floats = weight[:, columns].T if columns else None
    weight = without(weight, columns)
    if granularity == "auto":
        choice = schemes.choose_scheme(weight, bits=bits)
        granularity, group_size = choice.granularity, choice.group_size
    elif granularity == "per_group":
        group_size = group_size or schemes.GROUP_SIZES[0]
    q, scales, zero_point = schemes.quantize_weight(weight, bits, granularity, group_size, bool(symmetric))
    return PackedLinear(
        q, scales, bias, bits, granularity, group_size, x_granularity, zero_point, rotate, columns, floats, x_bits
    )  # fmt: skip


def check_wide(bits: int, granularity: str, rotate: int | None = None, outliers: Sequence[int] = ()) -> None:
    """Raise ValueError for what does not go with x_bits=16."""
    if bits != 8:
        raise ValueError(f"x_bits=16 goes with bits=8; got bits={bits}")
    if granularity == "per_group":
        raise ValueError('x_bits=16 goes with granularity="per_channel" or "per_tensor"; got "per_group"')
    if rotate is not None or outliers:
        given = f"rotate={rotate}" if rotate is not None else f"outliers={list(outliers)}"
        raise ValueError(f"x_bits=16 goes without rotate and outliers; got {given}")


def outlier_columns(outliers: Any, k: int) -> tuple[int, ...]:
    """Distinct columns of k in ascending order; none for None."""
    if outliers is None:
        return ()
    columns = checks.integers("outliers", outliers)
    if columns.ndim != 1:
        raise TypeError(f"outliers must be a sequence of integers; got {checks.describe(outliers)}")
    found = sorted(int(column) for column in columns)
    if len(set(found)) < len(found):
        twice = next(a for a, b in pairwise(found) if a == b)
        raise ValueError(f"outliers must be distinct; got {twice} more than once")
    if found and not 0 <= found[0] <= found[-1] < k:
        wrong = found[0] if found[0] < 0 else found[-1]
        raise ValueError(f"outliers must be columns of weight, from 0 to {k - 1}; got {wrong}")
    return tuple(found)
