"""Groups whose scales are float32: weights that other tools quantized, which only sessions have."""

from __future__ import annotations

import pickle

import numpy as np
import oracle
import pytest

import dynq_numba as dq
from dynq_numba.kernels.linear import reference
from dynq_numba.operators.linear.packed import PackedLinear

SCHEMES = [(8, False), (4, False), (4, True)]


def weight_of(bits: int, zeros: bool, group: int, n: int, k: int, rng) -> tuple[PackedLinear, tuple]:
    """A packed weight, and what it is made of."""
    low, high = {8: (-127, 128), 4: (-8, 8)}[bits]
    q = rng.integers(low, high, (n, k)).astype(np.int8)
    zero = None
    if zeros:
        zero = rng.integers(0, 16, (n, k // group)).astype(np.uint8)
        q = (rng.integers(0, 16, (n, k)) - zero.repeat(group, 1)).astype(np.int8)
    scale = rng.uniform(1e-3, 1, (n, k // group)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    packed = PackedLinear(q, scale, bias, bits, "per_group", group, "per_token", zero)
    return packed, (q, scale, bias, group)


@pytest.mark.parametrize(("bits", "zeros"), SCHEMES)
def test_bits_are_those_of_the_reference(bits, zeros, isa, rng):
    group = 32
    for m, n, k in ((1, 33, 2 * group), (7, 16, group), (19, 70, 3 * group)):
        packed, (q, scale, bias, _) = weight_of(bits, zeros, group, n, k, rng)
        x = rng.standard_normal((m, k)).astype(np.float32)
        with dq.force_isa(isa):
            ours = dq.linear(x, packed)
        oracle.assert_same_bits(ours, reference.linear(x, q, scale, bias, group=group), f"{m}, {n}, {k}")


def test_nothing_is_rounded(rng):
    packed, (q, scale, _, _) = weight_of(4, True, 32, 17, 96, rng)
    assert (scale.view(np.uint32) & 0xFFFF).any()
    for each in (packed, pickle.loads(pickle.dumps(packed))):
        assert np.array_equal(each.qweight, q) and np.array_equal(each.scale, scale)
        assert each == packed
