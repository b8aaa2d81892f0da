"""Every weight scheme: what pack_linear stores, what linear computes from it, what choose_scheme recommends."""

import copy
import pickle

import ml_dtypes
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq

F32 = np.float32
each_scheme = pytest.mark.parametrize("scheme", oracle.SCHEMES, ids=oracle.scheme_id)


def assert_same_weight(w, exact, context=""):
    """Integers, scale, bias and values of a PackedLinear are those of the oracle."""
    assert w.qweight.dtype == np.int8 and w.qweight.shape == exact.q.shape, context
    assert (w.qweight == exact.q).all(), f"{context}: qweight"
    oracle.assert_same_bits(np.asarray(w.scale), np.asarray(exact.scale), f"{context}: scale")
    assert w.symmetric == (exact.zero_point is None) == (w.zero_point is None), context
    if not w.symmetric:
        assert w.zero_point.dtype == np.uint8 and (w.zero_point == exact.zero_point).all(), f"{context}: zero point"
    oracle.assert_same_bits(w.dequantize(), exact.values, f"{context}: dequantize")


def extreme_weight(rng, k):
    """Channels of ordinary size, zeros, subnormals (whose scale underflows to zero in some) and the largest floats."""
    return np.concatenate([rng.standard_normal((9, k)).astype(F32), problems.extreme_rows(rng, k)])


@each_scheme
@pytest.mark.parametrize("k", [1, 31, 32, 33, 64, 65, 127, 128, 129, 257])
def test_weights_are_the_oracle_s(isa, rng, scheme, k):
    for n in (1, 15, 16, 17, 33, 70):
        _, weight, bias = problems.normal_problem(rng, 1, k, n)
        w = dq.pack_linear(weight, bias, **scheme)
        assert_same_weight(w, oracle.pack(weight, bias, **scheme), f"{n} channels")
        oracle.assert_same_bits(w.bias, bias)
    weight = extreme_weight(rng, k)
    assert_same_weight(dq.pack_linear(weight, **scheme), oracle.pack(weight, **scheme), "extreme")


@each_scheme
def test_linear_sweep(isa, rng, scheme):
    for k in (1, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 257):
        for n in (1, 16, 17, 33, 64, 70):
            x, weight, bias = problems.normal_problem(rng, 29, k, n)
            w, exact = dq.pack_linear(weight, bias, **scheme), oracle.pack(weight, bias, **scheme)
            expected = oracle.linear(x, exact)
            for m in (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 29):
                oracle.assert_same_bits(dq.linear(x[-m:], w), expected[-m:], f"{(m, k, n)}")


@pytest.mark.parametrize("scheme", oracle.SYMMETRIC, ids=oracle.scheme_id)
@pytest.mark.parametrize("k", [64, 1000, 65_794, 70_000, 140_000])
def test_corner_values(isa, rng, scheme, k):
    x, weight = problems.corner_problem(rng, k, 127 if scheme["bits"] == 8 else 7)
    w, exact = dq.pack_linear(weight, **scheme), oracle.pack(weight, **scheme)
    assert (np.asarray(w.scale) == 1).all() and (w.qweight == weight).all()
    expected = oracle.linear(x, exact)
    for threads in (1, 2):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), expected, f"threads={threads}")


@each_scheme
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1024, 1500), (60, 300, 200)])
def test_thread_count_changes_no_bit(isa, rng, scheme, m, k, n):
    x, weight, bias = problems.normal_problem(rng, m, k, n)
    w, expected = dq.pack_linear(weight, bias, **scheme), oracle.linear(x, oracle.pack(weight, bias, **scheme))
    for threads in (1, 2, None):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), expected, f"threads={threads}")


def corner_groups(rng, k, low):
    """Integers from low to low + 15, both in every group, that quantize with scale 1: extremes, alternations, noise."""
    coin = rng.integers(0, 2, (4, k)) * 15
    weight = np.concatenate([np.full((2, k), [[0], [15]]), coin, rng.integers(0, 16, (6, k))])
    weight[:, ::32], weight[:, 1::32] = 0, 15
    return (weight + low).astype(F32)


@pytest.mark.parametrize("scheme", [*oracle.SCHEMES[7:10], *oracle.ZERO_POINTS], ids=oracle.scheme_id)
@pytest.mark.parametrize("k", [64, 1000, 70_000])
def test_corner_values_of_4_bit_groups(isa, rng, scheme, k):
    """-8 … 7 with scale 1 and -7 … 8 with scale -1; zero points 0, 15 and between."""
    x = problems.corner_problem(rng, k)[0]
    symmetric, size = scheme.get("symmetric", True), scheme["group_size"]
    for low, sign in [(-8, 1), (-7, -1)] if symmetric else [(-15, 1), (-8, 1), (-7, 1), (0, 1)]:
        weight = corner_groups(rng, k, low)
        w, groups = dq.pack_linear(weight, **scheme), [slice(g, g + size) for g in range(0, k, size)]
        scale = np.full((len(weight), len(groups)), F32(sign))
        exact = oracle.Weight((sign * weight).astype(int), scale, F32(0), groups)
        assert (w.scale == sign).all() and (w.qweight == exact.q).all()
        assert symmetric or (w.zero_point == -low).all()
        expected = oracle.linear(x, exact)
        for m in (1, 2, 7):
            for threads in (1, 2):
                oracle.assert_same_bits(dq.linear(x[:m], w, threads=threads), expected[:m], f"{m} rows from {low}")


@pytest.mark.parametrize("scheme", [*oracle.SCHEMES[2:5], *oracle.SCHEMES[7:]], ids=oracle.scheme_id)
def test_scales_of_groups_fit_two_bytes(rng, scheme):
    for weight in (rng.standard_normal((35, 200)).astype(F32), extreme_weight(rng, 200)):
        w = dq.pack_linear(weight, **scheme)
        stored = w.scale / F32(16 if w.bits == 4 and w.symmetric else 1)
        assert (stored.view(np.uint32) & 0xFFFF == 0).all()
        assert (stored * F32(16 if w.bits == 4 and w.symmetric else 1) == w.scale).all() and (w.scale != 0).all()
    assert (w.scale < 0).any() == (w.bits == 4 and w.symmetric)


@pytest.mark.parametrize("scheme", [*oracle.SCHEMES[7:10], *oracle.ZERO_POINTS], ids=oracle.scheme_id)
def test_a_searched_scale_is_never_worse_than_the_plain_one(rng, scheme):
    """Squared error of each group against that of max|w| / 7, or of 15 steps between minimum and maximum."""
    size, count = scheme["group_size"], 6
    weight = rng.standard_normal((40, size * count)) ** 3 + rng.integers(-1, 2, (40, 1))
    weight = weight.astype(F32)
    groups = weight.astype(np.float64).reshape(40, count, size)
    w = dq.pack_linear(weight, **scheme)
    if w.symmetric:
        step = oracle.up_to_bfloat16((np.abs(groups).max(-1, keepdims=True) / 7).astype(F32)).astype(np.float64)
        plain = np.clip(np.rint(groups / step), -7, 7) * step
    else:
        low, high = np.minimum(groups.min(-1, keepdims=True), 0), np.maximum(groups.max(-1, keepdims=True), 0)
        step = oracle.up_to_bfloat16(((high - low) / 15).astype(F32)).astype(np.float64)
        zero = np.rint(-low / step)
        plain = (np.clip(np.rint(groups / step) + zero, 0, 15) - zero) * step
    mine, theirs = (((v - groups) ** 2).sum(-1) for v in (w.dequantize().reshape(groups.shape), plain))
    assert (mine <= theirs * (1 + 1e-5)).all()
    assert mine.sum() < 0.95 * theirs.sum()


# ------------------------------------------------------------------------------------------------ PackedLinear


@each_scheme
@pytest.mark.parametrize("x_granularity", ["per_token", "per_tensor"])
def test_attributes(rng, scheme, x_granularity):
    _, weight, bias = problems.normal_problem(rng, 1, 130, 21)
    w = dq.pack_linear(weight, bias, x_granularity=x_granularity, **scheme)
    assert (w.shape, w.bits, w.granularity) == ((21, 130), scheme["bits"], scheme["granularity"])
    assert (w.group_size, w.x_granularity) == (scheme["group_size"], x_granularity)
    groups = -(-130 // (scheme["group_size"] or 130))
    assert np.shape(w.scale) == {"per_tensor": (), "per_channel": (21,), "per_group": (21, groups)}[w.granularity]
    assert np.asarray(w.scale).dtype == F32
    assert w.bias.dtype == F32 and dq.pack_linear(weight, **scheme).bias is None
    text = repr(w)
    for part in ("PackedLinear", "21", "130", str(w.bits), w.granularity, x_granularity, str(w.group_size or "")):
        assert part in text, f"{part!r} is missing in {text}"


def test_scheme_names_differ(rng):
    weight = rng.standard_normal((8, 130)).astype(F32)
    names = [dq.pack_linear(weight, **scheme).scheme for scheme in oracle.SCHEMES]
    assert all(isinstance(name, str) and name for name in names)
    assert len(set(names)) == len(names)


def test_group_size_defaults_to_32(rng):
    weight = rng.standard_normal((8, 130)).astype(F32)
    w = dq.pack_linear(weight, granularity="per_group")
    assert w.group_size == 32 and w.scale.shape == (8, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_weights_of_every_float_type_in_every_layout(rng, dtype, layout):
    weight, bias = rng.standard_normal((21, 67)).astype(dtype), rng.standard_normal(21).astype(dtype)
    for scheme in oracle.SCHEMES:
        w = dq.pack_linear(problems.LAYOUTS[layout](weight), bias, **scheme)
        assert_same_weight(w, oracle.pack(weight, bias, **scheme), f"{scheme}")
        oracle.assert_same_bits(w.bias, oracle.as_float32(bias))


def scale_bytes(w):
    """Bytes of scales and zero points: of a group 2, and 1."""
    return (2 if w.group_size else 4) * np.size(w.scale) + (0 if w.symmetric else w.zero_point.size)


@each_scheme
def test_nbytes(scheme, rng):
    for n, k in [(384, 384), (1536, 384), (384, 1536), (768, 768), (1024, 768)]:
        weight = rng.standard_normal((n, k)).astype(F32)
        w = dq.pack_linear(weight, np.zeros(n, F32), **scheme)
        stored = weight.size * w.bits // 8 + scale_bytes(w) + 4 * n
        assert w.nbytes >= stored, "a count below the integers, the scales and the bias leaves something out"
        if scheme == oracle.SCHEMES[1]:
            assert w.nbytes <= 0.27 * (weight.nbytes + 4 * n)
            assert dq.pack_linear(weight, **scheme).nbytes <= 0.27 * weight.nbytes
        if scheme["bits"] == 4:
            assert w.nbytes < dq.pack_linear(weight, **{**scheme, "bits": 8, "symmetric": True}).nbytes
        if scheme["bits"] == 4 and scheme["group_size"] and min(n, k) >= 768:
            assert w.nbytes <= {32: 0.16, 64: 0.15, 128: 0.14}[w.group_size] * weight.nbytes


@each_scheme
def test_copies_and_pickles_behave_alike(isa, sets, rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 5, 131, 21)
    exact = oracle.pack(weight, bias, **scheme)
    expected = oracle.linear(x, exact, "per_tensor")
    w = dq.pack_linear(weight, bias, x_granularity="per_tensor", **scheme)
    for clone in (copy.copy(w), copy.deepcopy(w), *(pickle.loads(pickle.dumps(w, level)) for level in (2, 5))):
        assert_same_weight(clone, exact)
        assert (repr(clone), clone.scheme, clone.nbytes) == (repr(w), w.scheme, w.nbytes)
        assert (clone.x_granularity, clone.group_size, clone.shape) == ("per_tensor", w.group_size, w.shape)
        for other in sets:
            with dq.force_isa(other):
                oracle.assert_same_bits(dq.linear(x, clone), expected, other)


@each_scheme
def test_a_packed_weight_keeps_its_own_values(rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 5, 131, 21)
    exact = oracle.pack(weight.copy(), bias.copy(), **scheme)
    w = dq.pack_linear(weight, bias, **scheme)
    weight[:], bias[:] = 7, 7
    for view in (w.qweight, w.dequantize()):
        if view.flags.writeable:
            view[:] = 1
    assert_same_weight(w, exact)
    oracle.assert_same_bits(dq.linear(x, w), oracle.linear(x, exact))


# ------------------------------------------------------------------------------------------------ choose_scheme


def outlier_weight(rng):
    """Channels of sizes 1 to 1000, with outliers inside some: each finer granularity is worth its bytes."""
    weight = rng.standard_normal((96, 256)) * np.logspace(0, 3, 96)[:, None]
    weight[::3, 17] *= 300
    return weight.astype(F32)


def describe(candidate):
    """The arguments of pack_linear for a candidate."""
    return {
        "bits": getattr(candidate, "bits", 8),
        "granularity": candidate.granularity,
        "group_size": getattr(candidate, "group_size", None),
    }


def relative_error(weight, scheme):
    """The relative root-mean-square error of the dequantized weight, in float64."""
    weight = weight.astype(np.float64)
    return np.linalg.norm(oracle.pack(weight, **scheme).values - weight) / np.linalg.norm(weight)


@pytest.mark.parametrize("bits", [8, 4])
def test_candidates_state_the_true_error_and_bytes(rng, bits):
    weight = outlier_weight(rng)
    candidates = dq.choose_scheme(weight, bits=bits).candidates
    assert {"per_tensor", "per_channel", "per_group"} <= {candidate.granularity for candidate in candidates}
    for candidate in candidates:
        scheme = describe(candidate)
        assert candidate.error == pytest.approx(relative_error(weight, scheme), rel=1e-5), scheme
        w = dq.pack_linear(weight, **scheme)
        assert candidate.nbytes == weight.size * w.bits // 8 + scale_bytes(w) <= w.nbytes, scheme


def test_the_cheapest_candidate_within_the_error_is_chosen(rng):
    weight = outlier_weight(rng)
    candidates = dq.choose_scheme(weight).candidates
    chosen = set()
    for limit in sorted(candidate.error * 1.0001 for candidate in candidates):
        choice = dq.choose_scheme(weight, max_error=limit)
        within = [candidate for candidate in candidates if candidate.error <= limit]
        assert choice.error <= limit and choice.nbytes == min(candidate.nbytes for candidate in within)
        assert any(
            (c.granularity, c.error, c.nbytes) == (choice.granularity, choice.error, choice.nbytes) for c in within
        )
        chosen.add(choice.granularity)
    assert {"per_tensor", "per_group"} <= chosen


def test_auto_packs_what_choose_scheme_recommends(rng):
    for weight in (outlier_weight(rng), rng.standard_normal((40, 64)).astype(F32), np.zeros((5, 7), F32)):
        choice, w = dq.choose_scheme(weight), dq.pack_linear(weight)
        assert (w.granularity, w.group_size, w.bits) == (choice.granularity, choice.group_size, 8)
        assert_same_weight(w, oracle.pack(weight, **describe(choice)))


def test_4_bits_take_groups_of_32_where_nothing_coarser_is_exact(rng):
    for k in (20, 64, 200):
        weight = rng.standard_normal((40, k)).astype(F32)
        choice, w = dq.choose_scheme(weight, bits=4), dq.pack_linear(weight, bits=4)
        assert (choice.granularity, choice.group_size) == (w.granularity, w.group_size) == ("per_group", 32)
        assert_same_weight(w, oracle.pack(weight, bits=4, granularity="per_group", group_size=32))
    few = rng.integers(-7, 8, (40, 200)).astype(F32)
    few[:, 0] = 7
    assert dq.pack_linear(few, bits=4).granularity == "per_tensor" and dq.choose_scheme(few, bits=4).error == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_a_choice_is_packed_as_it_is_and_says_whether_it_is_within(rng, bits):
    weight = outlier_weight(rng)
    for candidate in dq.choose_scheme(weight, bits=bits).candidates:
        choice = dq.choose_scheme(weight, candidate.error, bits=bits)
        assert choice.within and choice.max_error == candidate.error
        for given in (candidate, candidate.scheme):
            packed = dq.pack_linear(weight, scheme=given)
            assert packed == dq.pack_linear(weight, **describe(candidate)) and packed.scheme == candidate.scheme
    choice = dq.choose_scheme(weight, max_error=0, bits=bits)
    assert not choice.within and choice.error == min(c.error for c in choice.candidates)
    assert dq.choose_scheme(np.zeros((3, 4), F32), max_error=0).within


@each_scheme
def test_every_scheme_is_packed_by_its_name(rng, scheme):
    weight = outlier_weight(rng)
    packed = dq.pack_linear(weight, **scheme)
    assert dq.pack_linear(weight, scheme=packed.scheme) == packed
