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


class Drawn:
    """A `Draw` of hypothesis."""

    def __init__(self, draw):
        self._draw = draw

    def length(self):
        return self._draw(lengths)

    def short(self):
        return self._draw(short)

    def one_of(self, *choices):
        return self._draw(st.sampled_from(choices))

    def rng(self):
        return np.random.default_rng(self._draw(st.integers(0, 2**32)))

    def floats(self, *shape):
        """float32 of a shape, each row (of the last axis) of a kind of its own."""
        rows, rng = int(np.prod(shape[:-1])), self.rng()
        kinds = self._draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
        values = [KINDS[kinds[i % len(kinds)]](rng.standard_normal(shape[-1])) for i in range(rows)]
        return np.array(values, np.float64).astype(F32).reshape(shape)


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


@pytest.mark.parametrize("name", extremes.EXTREMES)
@given(data=st.data())
def test_the_bits_of_the_twins(isa, name, data, twins):
    arguments = extremes.EXTREMES[name].draw(Drawn(data.draw))
    found, wanted = extremes.answer(name, arguments), twins(name, arguments)
    if isinstance(wanted, str):
        assert found == wanted and wanted.startswith("ValueError")
        return
    assert not isinstance(found, str) and len(found) == len(wanted), found
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.dtype == other.dtype and (one.dtype == F32 or np.array_equal(one, other)), f"result {i}"
        if one.dtype == F32:
            oracle.assert_same_bits(one, other, f"result {i}")
