"""pack_linear(x_bits=16): linear on x of 16 bits against an oracle in Python's integers, on every instruction set."""

import copy
import pickle

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numba
import numpy as np
import oracle
import oracle_sixteen
import problems
import pytest
from hypothesis import given

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as reference_activations

F32 = np.float32
PER_CHANNEL = {"granularity": "per_channel"}
TOP = 65535


def both(weight, bias=None, **form):
    """The same weight packed by the package and by the oracle."""
    form = form or PER_CHANNEL
    return dq.pack_linear(weight, bias, x_bits=16, **form), oracle.pack(weight, bias, **form)


def wrong_sizes(rng, k, ns, ms):
    """The (m, k, n) whose result is not the oracle's, or that write beyond it."""
    x, weight, bias = problems.normal_problem(rng, max(ms), k, max(ns))
    expected = oracle_sixteen.linear(x, oracle.pack(weight, bias))
    wrong = []
    for n in ns:
        w = dq.pack_linear(weight[:n], bias[:n], x_bits=16)
        for m in ms:
            out = np.full((m + 2, n + 3), F32(7))
            dq.linear(x[-m:], w, out=out[:m, :n])
            if not oracle.same_bits(out[:m, :n], expected[-m:, :n]) or (out[m:] != 7).any() or (out[:, n:] != 7).any():
                wrong.append((m, k, n))
    return wrong


@pytest.mark.parametrize("k", [1, 3, 4, 8, 17, 33, 67])
def test_every_row_and_column_remainder(isa, rng, k):
    assert wrong_sizes(rng, k, range(1, 67), range(1, 17)) == []


def test_every_depth_remainder(isa, rng):
    depths = (*range(1, 41), *range(61, 68), 97, 127, 128, 129, 131, 257)
    assert [size for k in depths for size in wrong_sizes(rng, k, (1, 16, 33, 64), (1, 2, 5, 7, 8, 15))] == []


@pytest.mark.parametrize("k", [128, 191, 1153])
def test_products_that_go_through_matrix_registers_where_there_are_some(isa, rng, k):
    assert wrong_sizes(rng, k, (192, 193, 223, 260), (5, 15, 16, 17, 31, 32, 33, 49)) == []


def corners(rng, k):
    """x of integers 0 … 65535 at scale 1, and weights of all signs and sizes: the largest sums there are."""
    coin, noise = rng.integers(0, 2, k), rng.integers(0, TOP + 1, k)
    coin[0], coin[-1], noise[0], noise[-1] = 0, 1, 0, TOP
    x = [np.full(k, TOP), np.full(k, -TOP), TOP * coin, TOP * coin - 32768, -TOP * coin, noise, noise - 255]
    x.append(noise - 256)
    return np.stack(x).astype(F32), problems.corner_problem(rng, k)[1]


@pytest.mark.parametrize("k", [4, 63, 1000, 65_792, 65_793, 65_794, 140_000])
def test_corner_values_are_exact(isa, rng, k):
    x, weight = corners(rng, k)
    w, expected = both(weight)
    assert (w.scale == 1).all() and (w.qweight == weight).all()
    sums, scale = oracle_sixteen.accumulator(x, expected.q)
    assert (scale == 1).all() and abs(sums).max() == TOP * 127 * k
    for threads in (1, 2):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), sums.astype(np.float64).astype(F32))


def test_activations_round_half_to_even(isa, rng):
    """A one-hot weight shows every integer: ties, and the floats on either side, over the whole range."""
    for first, scale in ((-32767, 1), (-32768, 0.25), (0, 3.7)):
        ties = (np.arange(first, first + TOP, 131, dtype=np.float64) + 0.5) * F32(scale)
        ties = np.concatenate([[first * F32(scale), (first + TOP) * F32(scale)], ties]).astype(F32)
        x = np.stack([ties, np.nextafter(ties, F32(0)), np.nextafter(ties, F32(np.inf))])
        x[:, :2] = ties[:2]
        w, exact = both(np.eye(x.shape[1], dtype=F32))
        oracle.assert_same_bits(dq.linear(x, w), oracle_sixteen.linear(x, exact), f"{first}, {scale}")


@pytest.mark.parametrize("k", [1, 5, 64, 131])
def test_zeros_subnormals_and_huge_values(isa, rng, k):
    tiny = np.finfo(F32).smallest_subnormal
    ends = [np.full(k, v * float(tiny), F32) for v in (32767, 32768, 98302, -98303)]
    mixed = (rng.integers(-99_000, 99_001, (6, k)) * float(tiny)).astype(F32)
    x = np.concatenate([problems.extreme_rows(rng, k), ends, mixed])
    for weight in (rng.standard_normal((35, k)).astype(F32), problems.extreme_rows(rng, k)):
        w, exact = both(weight)
        expected = oracle_sixteen.linear(x, exact)
        oracle.assert_same_bits(dq.linear(x, w, threads=2), expected)
        for row in range(len(x)):
            oracle.assert_same_bits(dq.linear(x[row], w), expected[row], f"row {row} alone")


def test_nan_and_infinity_poison_only_their_row(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 40, 131, 70)
    for row, (place, value) in enumerate((p, v) for p in (0, 64, 130) for v in (np.nan, np.inf, -np.inf)):
        x[3 * row + 1, place] = value
    w, exact = both(weight, bias)
    expected = oracle_sixteen.linear(x, exact)
    assert np.isnan(expected).all(axis=1).sum() == 9 and np.isnan(expected).any(axis=1).sum() == 9
    oracle.assert_same_bits(dq.linear(x, w), expected)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1024, 2000), (3, 256, 2500), (37, 129, 257), (150, 100, 84)])
def test_threads_and_batches_change_no_bit(isa, rng, m, k, n):
    x, weight, bias = problems.normal_problem(rng, m, k, n)
    w, exact = both(weight, bias)
    expected = oracle_sixteen.linear(x, exact)
    for threads in (1, 2, None):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), expected, f"threads={threads}")
    order = rng.permutation(m)
    oracle.assert_same_bits(dq.linear(x[order], w), expected[order], "shuffled")
    for size in (1, 7, 16):
        parts = [dq.linear(x[i : i + size], w) for i in range(0, m, size)]
        oracle.assert_same_bits(np.concatenate(parts), expected, f"in batches of {size}")


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("x_granularity", ["per_token", "per_tensor"])
def test_every_granularity(isa, rng, granularity, x_granularity):
    x, weight, bias = problems.normal_problem(rng, 21, 67, 35)
    w = dq.pack_linear(weight, bias, granularity=granularity, x_granularity=x_granularity, x_bits=16)
    exact = oracle.pack(weight, bias, granularity=granularity)
    oracle.assert_same_bits(w.scale, exact.scale)
    oracle.assert_same_bits(dq.linear(x, w), oracle_sixteen.linear(x, exact, x_granularity == "per_tensor"))


@pytest.mark.parametrize("activation", [None, *oracle.ACTIVATIONS])
def test_post_ops(isa, rng, activation):
    @numba.njit
    def half(v):
        return v * np.float32(0.5)

    for m, k, n in ((1, 9, 70), (15, 67, 33), (20, 260, 130)):
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        w, exact = both(weight, bias)
        residual = rng.standard_normal((m, n)).astype(F32)
        plain = oracle_sixteen.linear(x, exact)
        expected = (plain if activation is None else getattr(reference_activations, activation)(plain)) + residual
        oracle.assert_same_bits(dq.linear(x, w, activation=activation, residual=residual), expected)
        if activation == "relu":
            oracle.assert_same_bits(dq.linear(x, w, activation=activation, residual=residual, epilogue=half),
                                    expected * F32(0.5))  # fmt: skip


@given(st.data())
def test_any_floats_give_the_bits_of_the_oracle(isa, data):
    m, k, n = (data.draw(st.integers(1, top), label) for label, top in (("m", 9), ("k", 40), ("n", 20)))
    x = data.draw(hnp.arrays(F32, (m, k), elements=st.floats(width=32)), "x")
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    weight = data.draw(hnp.arrays(F32, (n, k), elements=numbers), "weight")
    w, exact = both(weight, data.draw(hnp.arrays(F32, n, elements=st.floats(width=32)), "bias"))
    oracle.assert_same_bits(dq.linear(x, w), oracle_sixteen.linear(x, exact))


def test_the_error_of_x_is_that_of_65535_steps(rng):
    """|x - x^| ≤ scale (1/2 + 2^-6): a quotient of 16 bits has 2^-8 left for its rounding. Then as in 8 bits."""
    x, weight, bias = problems.normal_problem(rng, 30, 300, 40)
    errors = {}
    for bits in (8, 16):
        w = dq.pack_linear(weight, bias, x_bits=bits, **PER_CHANNEL)
        kept = w.dequantize().astype(np.float64)
        exact = x.astype(np.float64) @ kept.T + bias
        step = (np.maximum(0, x.max(1)) - np.minimum(0, x.min(1))).astype(np.float64) / (2**bits - 1)
        size = np.abs(x.astype(np.float64)) @ np.abs(kept).T
        bound = (0.5 + 2.0**-6) * step[:, None] * np.abs(kept).sum(1) + 2.0**-21 * (size + np.abs(bias))
        gap = np.abs(dq.linear(x, w) - exact)
        assert (gap <= bound).all()
        errors[bits] = np.linalg.norm(gap)
    assert errors[8] > 200 * errors[16]


def test_in_compiled_code(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 13, 67, 33)
    w, narrow = dq.pack_linear(weight, bias, x_bits=16), dq.pack_linear(weight, bias, **PER_CHANNEL)

    @numba.njit
    def run(x, w, narrow):
        return dq.linear(x, w, activation="gelu"), dq.linear_many(x, (w, narrow, w))

    one, many = run(x, w, narrow)
    oracle.assert_same_bits(one, dq.linear(x, w, activation="gelu"))
    for y, each in zip(many, (w, narrow, w), strict=True):
        oracle.assert_same_bits(y, dq.linear(x, each))


def test_several_weights_of_one_x(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 23, 67, 90)
    exact = [oracle.pack(weight[a:b], bias[a:b]) for a, b in ((0, 40), (40, 41), (41, 90))]
    ws = [dq.pack_linear(weight[a:b], bias[a:b], x_bits=16) for a, b in ((0, 40), (40, 41), (41, 90))]
    narrow = dq.pack_linear(weight, bias, **PER_CHANNEL)
    for threads in (1, 2):
        for y, each in zip(dq.linear_many(x, ws, threads=threads), exact, strict=True):
            oracle.assert_same_bits(y, oracle_sixteen.linear(x, each))
    wide, other = dq.linear_many(x, [ws[0], narrow])
    oracle.assert_same_bits(wide, oracle_sixteen.linear(x, exact[0]))
    oracle.assert_same_bits(other, dq.linear(x, narrow))


def test_in_a_chain(rng):
    up, gate, down = (dq.pack_linear(rng.standard_normal(shape, F32), x_bits=bits)
                      for shape, bits in (((64, 48), 16), ((64, 48), 8), ((48, 64), 16)))  # fmt: skip
    chain = dq.Chain({"up": dq.step.Linear(up, activation="gelu"), "gate": dq.step.Linear(gate, x="x"),
                      "y": dq.step.Linear(down, x="up", residual="x")}, ["y", "gate"])  # fmt: skip
    for m in (1, 5, 200):
        x = rng.standard_normal((m, 48), F32)
        y, other = chain(x, threads=2)
        oracle.assert_same_bits(other, dq.linear(x, gate))
        oracle.assert_same_bits(y, dq.linear(dq.linear(x, up, activation="gelu"), down, residual=x))


def test_a_copy_a_pickle_and_a_file_are_the_same(rng, tmp_path):
    x, weight, bias = problems.normal_problem(rng, 5, 67, 21)
    w, narrow = dq.pack_linear(weight, bias, x_bits=16), dq.pack_linear(weight, bias, **PER_CHANNEL)
    assert w != narrow and (w.x_bits, narrow.x_bits) == (16, 8) and w.scheme == narrow.scheme == "int8_per_channel"
    assert "uint16 activations" in repr(w) and "uint8 activations" in repr(narrow)
    dq.save(tmp_path / "w.safetensors", {"wide": w, "narrow": narrow})
    loaded = dq.load(tmp_path / "w.safetensors")
    assert loaded["narrow"] == narrow
    for clone in (copy.copy(w), copy.deepcopy(w), pickle.loads(pickle.dumps(w)), loaded["wide"]):
        assert clone == w and clone.x_bits == 16 and repr(clone) == repr(w)
        oracle.assert_same_bits(dq.linear(x, clone), dq.linear(x, w))
    wide, small = dq.inspect(tmp_path / "w.safetensors").entries
    assert "x_bits=16" in wide.about and "x_bits" not in small.about


@pytest.mark.parametrize(("options", "message"), [
    ({"bits": 4}, "x_bits=16 goes with bits=8; got bits=4"),
    ({"scheme": "int8_per_group_32"}, 'granularity="per_channel" or "per_tensor"; got "per_group"'),
    ({"rotate": 32}, "without rotate and outliers; got rotate=32"),
    ({"outliers": [5, 3]}, r"without rotate and outliers; got outliers=\[3, 5\]"),
    ({"x_bits": 12}, "x_bits must be one of 8, 16; got int 12"),
    ({"x_bits": "16"}, "x_bits must be one of 8, 16"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        dq.pack_linear(np.ones((3, 64), F32), **{"x_bits": 16, **options})


def test_auto_is_one_scale_per_channel(rng):
    weight = rng.standard_normal((8, 1024)).astype(F32)
    weight[:, 0] = 100
    assert dq.pack_linear(weight).granularity == "per_group"
    assert dq.pack_linear(weight, x_bits=16).granularity == "per_channel"
    assert dq.pack_linear(weight, x_bits=16, outliers=[]).outliers == ()
