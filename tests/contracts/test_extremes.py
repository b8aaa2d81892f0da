"""All operators on all sets at the ends of float32 and of lengths: the bits of the numpy twins, though memory is junk.

Rows are zeros, denormals, the least and the largest floats and mixtures of them; lengths are often 0 or 1.
"""

import ctypes

import extremes
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

F32 = np.float32
TINY = np.finfo(F32).smallest_subnormal
#: glibc fills the memory that it hands out with the complement of a byte, unless that is 0.
M_PERTURB = -6
lengths = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 48, 64, 70])
short = st.sampled_from([0, 1, 2, 3, 5, 17])
#: What a row's values are, given noise of standard deviation 1.
KINDS = {
    "zeros": lambda noise: 0 * noise,
    "steps": lambda noise: np.rint(noise * 100) * TINY,
    "denormals": lambda noise: noise * 1e-42,
    "near the least normal": lambda noise: noise * 1e-38,
    "squares that underflow": lambda noise: noise * 1e-23,
    "ordinary": lambda noise: noise,
    "large": lambda noise: noise * 1e30,
    "the largest": lambda noise: np.where(noise > 0, 1, -1) * float(np.finfo(F32).max),
    "one large": lambda noise: np.where(np.arange(noise.size) == noise.size // 2, 1e30, noise * 1e-42),
}


@st.composite
def floats(draw, *shape):
    """float32 of a shape, each row (of the last axis) of a kind of its own."""
    rows = int(np.prod(shape[:-1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    values = [KINDS[kinds[i % len(kinds)]](rng.standard_normal(shape[-1])) for i in range(rows)]
    return np.array(values, np.float64).astype(F32).reshape(shape)


@st.composite
def for_linear(draw):
    m, k, n = draw(lengths), draw(lengths), draw(lengths)
    return draw(floats(m, k)), draw(floats(n, k)), draw(floats(n))


@st.composite
def for_matmul(draw):
    m, k, n = draw(lengths), draw(lengths), draw(lengths)
    return draw(floats(m, k)), np.ascontiguousarray(draw(floats(n, k)).T)


@st.composite
def for_conv(draw):
    n, c, o, high, wide = draw(short), draw(st.sampled_from([1, 3, 5])), draw(lengths), draw(short), draw(lengths)
    return draw(floats(n, c, high + 1, wide + 1)), draw(floats(max(1, o), c, 3, 3))


@st.composite
def for_embedding(draw):
    rows, columns, count, bags = draw(st.sampled_from([1, 3, 20])), draw(lengths), draw(lengths), draw(short)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    offsets = np.sort(rng.integers(0, count + 1, bags))
    offsets[:1] = 0
    ids = rng.integers(0, rows, count if bags else 0)
    return draw(floats(rows, columns)) / F32(2), ids, offsets, draw(floats(ids.size))


@st.composite
def a_pair(draw):
    m, k = draw(lengths), draw(lengths)
    return draw(floats(m, k)), draw(floats(m, k))


@st.composite
def for_rotary(draw):
    m, half = draw(lengths), draw(short)
    return draw(floats(m, 2 * half)), draw(floats(m, half)), draw(floats(m, half))


@st.composite
def for_attention(draw):
    batch, s, t, dim, value_dim = (
        draw(st.sampled_from([0, 1, 2])),
        draw(short),
        draw(lengths),
        draw(lengths),
        draw(short),
    )
    return draw(floats(batch, 4, s, dim)), draw(floats(batch, 2, t, dim)), draw(floats(batch, 2, t, value_dim))


@st.composite
def for_recurrent(draw):
    steps, batch, inputs, units = draw(short), draw(short), draw(lengths), draw(st.sampled_from([1, 3, 16, 33]))
    return draw(floats(steps, batch, inputs)), draw(floats(1, 4 * units, inputs)), draw(floats(1, 4 * units, units))


ARGUMENTS = {
    "linear": for_linear(), "linear_many": for_linear(), "matmul": for_matmul(), "matmul_integer": for_matmul(),
    "quantize": a_pair().map(lambda pair: pair[:1]), "conv": for_conv(), "embedding": for_embedding(),
    "softmax": a_pair(), "norms": a_pair(), "maps": a_pair(), "rotary": for_rotary(), "attention": for_attention(),
    "recurrent": for_recurrent(),
}  # fmt: skip


@pytest.fixture(scope="module")
def twins():
    found = extremes.Twins()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def junk():
    """New memory is full of it."""
    perturb = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)
    perturb(M_PERTURB, 0x5A)
    yield
    perturb(M_PERTURB, 0)


@pytest.mark.parametrize("name", extremes.OPERATORS)
@given(data=st.data())
def test_the_bits_of_the_twins(isa, name, data, twins):
    arguments = data.draw(ARGUMENTS[name.split(", ")[0]])
    found, wanted = extremes.answer(name, arguments), twins(name, arguments)
    if isinstance(wanted, str):
        assert found == wanted and wanted.startswith("ValueError")
        return
    assert not isinstance(found, str) and len(found) == len(wanted), found
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.dtype == other.dtype and (one.dtype == F32 or np.array_equal(one, other)), f"result {i}"
        if one.dtype == F32:
            oracle.assert_same_bits(one, other, f"result {i}")
