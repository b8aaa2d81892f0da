"""Every operator of regions: the reference against numpy, Python and onnx.reference; compiled code against it."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import onnx
import pytest
import regions
from onnx import helper
from onnx.reference import ReferenceEvaluator
from regions import of, pairs, run, same, special

import dynq_numba as dq
from dynq_numba.kernels.region.check import refused
from dynq_numba.kernels.region.reference import OPERATORS, TYPES, evaluate

F, D, L, W, U, S, B, *_ = TYPES
INTEGERS = (L, W, U, S)


def constants_of(name, kind):
    """Attributes as constant operands."""
    return {
        "LeakyRelu": ((kind, 0.1),), "Elu": ((F, 1.5),), "Celu": ((F, 1.5),), "ThresholdedRelu": ((kind, 1.25),),
        "Selu": ((F, 1.67326), (F, 1.0507)), "HardSigmoid": ((F, 0.2), (F, 0.5)),
        "Clip": ((kind, 2), (kind, 100)),
    }.get(name, ())  # fmt: skip


def cases():
    """(operator, its region, its leaves) for every operator and type, on all special values."""
    for name, operator in OPERATORS.items():
        if name in ("Cast", "Where"):
            continue
        for kind in TYPES:
            constants = constants_of(name, kind)
            count = max(1, operator.count.start) - len(constants)
            count = 2 if operator.count.start == 1 and operator.count.stop > 2 else count
            result = B if operator.boolean else kind
            if not refused(name, (kind,) * (count + len(constants)), result):
                leaves = pairs(kind) if count == 2 else (special(kind),)
                yield name, of(name, *[kind] * count, result=result, constants=constants), leaves
    for kind in TYPES:
        for to in TYPES:
            yield "Cast", of("Cast", kind, result=to), (special(kind),)
        a, b = pairs(kind)
        yield "Where", of("Where", B, kind, kind), (np.arange(a.size) % 3 > 0, a, b)
    for exponent in (0.0, 0.5, -0.5, -1.0, 1.0, 2.0, 3.0, 2.7):
        yield "Pow", of("Pow", F, constants=((F, exponent),)), (special(F),)


CASES = list(cases())
NAMES = [f"{name}-{'-'.join(region.leaves)}-{region.operands[-1]}-{i}" for i, (name, region, _) in enumerate(CASES)]


def test_every_operator_has_a_case():
    assert {name for name, _, _ in CASES} == set(OPERATORS)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_set_has_the_bits_of_the_reference(case):
    _, region, leaves = case
    (want,) = evaluate(region, leaves)
    for name in dq.available_isas():
        (got,) = run(region, leaves, name)
        assert same(got, want), (name, leaves, got, want)


def whole(formula):
    """A formula of Python's integers, wrapped to the type."""

    def wrapped(a, b):
        bits = 8 * a.itemsize
        values = [formula(int(x), int(y)) % 2**bits for x, y in zip(a, b, strict=True)]
        return np.array(values, np.dtype(f"u{a.itemsize}")).view(a.dtype)

    return wrapped


def truncated(x, y):
    return 0 if y == 0 else (abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)


INTEGER_ORACLES = {
    "Add": whole(lambda x, y: x + y), "Sub": whole(lambda x, y: x - y), "Mul": whole(lambda x, y: x * y),
    "Div": whole(truncated), "Mod": whole(lambda x, y: x % y if y else 0),
    "Fmod": whole(lambda x, y: x - truncated(x, y) * y if y else 0), "Min": whole(min), "Max": whole(max),
    "BitwiseAnd": whole(lambda x, y: x & y), "BitwiseOr": whole(lambda x, y: x | y),
    "BitwiseXor": whole(lambda x, y: x ^ y),
}  # fmt: skip


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("name", INTEGER_ORACLES)
def test_integers_are_those_of_python_wrapped(name, kind):
    a, b = pairs(kind)
    (got,) = evaluate(of(name, kind, kind), (a, b))
    assert same(got, INTEGER_ORACLES[name](a, b))


FLOAT_ORACLES = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Neg": np.negative, "Abs": np.abs,
    "Sqrt": np.sqrt, "Reciprocal": lambda x: 1 / x, "Floor": np.floor, "Ceil": np.ceil, "Round": np.round,
    "IsNaN": np.isnan, "IsInf": np.isinf, "Equal": np.equal, "Less": np.less, "Greater": np.greater,
    "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal, "Identity": np.array,
}  # fmt: skip


@pytest.mark.parametrize("kind", (F, D))
@pytest.mark.parametrize("name", FLOAT_ORACLES)
def test_single_operations_of_floats_are_those_of_numpy(name, kind):
    operator = OPERATORS[name]
    leaves = pairs(kind) if operator.count.start == 2 else (special(kind),)
    (got,) = evaluate(of(name, *[kind] * len(leaves), result=B if operator.boolean else kind), leaves)
    with np.errstate(all="ignore"):
        assert same(got, FLOAT_ORACLES[name](*leaves))


@pytest.mark.parametrize("kind", (F, D))
@pytest.mark.parametrize("name, oracle", [("Min", np.minimum), ("Max", np.maximum)])
def test_least_and_largest(name, oracle, kind):
    a, b = pairs(kind)
    (got,) = evaluate(of(name, kind, kind), (a, b))
    assert np.array_equal(got, oracle(a, b), equal_nan=True)
    zeros = np.array([0, -0.0], kind), np.array([-0.0, 0], kind)
    assert np.signbit(evaluate(of(name, kind, kind), zeros)[0]).tolist() == [True, False]  # the last of equal ones


def test_sign():
    x = special(F)
    (got,) = evaluate(of("Sign", F), (x,))
    assert np.array_equal(got, np.sign(x), equal_nan=True) and not np.signbit(got[x == 0]).any()


def test_casts_to_integers_take_the_nearest_there_is():
    for of_kind in (F, D):
        x = special(of_kind)
        for kind in INTEGERS:
            limits = np.iinfo(kind)
            ends = [0.0 if math.isnan(v) else max(-1e30, min(1e30, v)) for v in x.tolist()]
            want = [max(limits.min, min(limits.max, int(v))) for v in ends]
            assert same(evaluate(of("Cast", of_kind, result=kind), (x,))[0], np.array(want, kind))


def test_other_casts_are_those_of_numpy():
    for kind in TYPES:
        for to in TYPES:
            if np.dtype(kind).kind == "f" and np.dtype(to).kind in "iu":
                continue
            with np.errstate(all="ignore"):
                assert same(evaluate(of("Cast", kind, result=to), (special(kind),))[0], special(kind).astype(to))


# -- functions ------------------------------------------------------------------------------------
def patterns():
    """Of all float32 one in 65521, and both ends of every exponent."""
    bits = np.arange(1 << 16, dtype=np.uint64) * 65521
    ends = (np.arange(512, dtype=np.uint64)[:, None] << 23) + np.array([0, 1, 0x7FFFFE, 0x7FFFFF], np.uint64)
    return np.concatenate([bits, ends.ravel()]).astype(np.uint32).view(np.float32)


def ulps(got, want):
    """The largest difference from float64 results in float32's last places; infinities and NaN as they must be."""
    with np.errstate(over="ignore"):
        nearest = want.astype(np.float32)
    finite = np.isfinite(want) & (np.abs(want) < 2.0**128)
    assert np.array_equal(got[~np.isfinite(nearest)], nearest[~np.isfinite(nearest)], equal_nan=True)
    assert np.isfinite(got[np.isfinite(nearest)]).all()
    finite &= np.isfinite(nearest)
    _, exponent = np.frexp(np.maximum(np.abs(nearest[finite]).astype(np.float64), 2.0**-126))
    spacing = np.ldexp(1.0, exponent - 24)
    return (np.abs(got[finite].astype(np.float64) - want[finite]) / spacing).max()


def each(function):
    return lambda x: np.array([function(v) if math.isfinite(v) else math.nan for v in x.tolist()])


@pytest.mark.parametrize(
    "name, oracle, bound",
    [
        ("Log", np.log, 0.501), ("Sin", each(math.sin), 0.501), ("Cos", each(math.cos), 0.501),
        ("Softplus", lambda x: np.logaddexp(0, x), 4), ("Exp", np.exp, 4), ("Tanh", np.tanh, 4),
    ],
)  # fmt: skip
def test_functions_are_within_their_bounds(name, oracle, bound):
    x = patterns()
    with np.errstate(all="ignore"):
        want = oracle(x.astype(np.float64))
    assert ulps(evaluate(of(name, F), (x,))[0], want) <= bound


def test_pow_is_within_its_bound_and_has_the_special_values_of_c():
    rng = np.random.default_rng(3)
    x, y = (rng.permutation(patterns()) for _ in range(2))
    near = np.exp(rng.normal(size=1 << 15)).astype(F), (30 * rng.normal(size=1 << 15)).astype(F)
    special_ones = pairs(F)
    a, b = (np.concatenate(parts) for parts in zip((x, y), near, special_ones, strict=True))
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b.astype(np.float64))
    assert ulps(evaluate(of("Pow", F, F), (a, b))[0], want) <= 0.501


def test_pow_by_some_constants_is_exact_arithmetic():
    x = special(F)
    with np.errstate(all="ignore"):
        wanted = {2.0: x * x, 3.0: x * x * x, 1.0: x, 0.5: np.sqrt(x), -0.5: np.float32(1) / np.sqrt(x), -1.0: 1 / x}
    for exponent, want in wanted.items():
        for kind in (F, D, L) if exponent == int(exponent) else (F, D):
            assert same(evaluate(of("Pow", F, constants=((kind, exponent),)), (x,))[0], want), exponent


#: sha256 of results on `patterns()`: the same on every machine, in every version.
DIGESTS = {
    "Log": "047d5f25217f68c4", "Pow": "3683ffb43e3d83c8", "Softplus": "c52be71aa37039b6",
    "Sin": "1afee2efab63960e", "Cos": "2342c811acf16c43", "Exp": "21ab6a4571f8595d",
    "Tanh": "f1adafcf7d5bc512", "Erf": "45131314efa0a957", "Sigmoid": "fd6e7bef39c2ef1e",
    "Mish": "97467b90501f25a7", "Gelu": "335ebe36dc951d5e", "GeluTanh": "77a21644dc3c664b",
    "Swish": "aa778b9c92ab57f3",
}  # fmt: skip


def digest(name):
    x = patterns()
    leaves = (np.abs(x), x[::-1].copy()) if name == "Pow" else (x,)
    (got,) = evaluate(of(name, *[F] * len(leaves)), leaves)
    return hashlib.sha256(np.where(np.isnan(got), np.float32(np.nan), got).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_the_bits_of_functions_never_change(name):
    assert digest(name) == DIGESTS[name]


# -- ONNX's own reference ---------------------------------------------------------------------------
def by_onnx(name, leaves, **attributes):
    kinds = [helper.np_dtype_to_tensor_dtype(leaf.dtype) for leaf in leaves]
    inputs = [helper.make_tensor_value_info(f"x{i}", kind, None) for i, kind in enumerate(kinds)]
    node = helper.make_node(name, [f"x{i}" for i in range(len(leaves))], ["y"], **attributes)
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.UNDEFINED, None)]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {f"x{i}": leaf for i, leaf in enumerate(leaves)})[0]


X = np.concatenate([np.linspace(-9, 9, 301), [0, -0.0, 1e-3, -1e-3, 40, -40]]).astype(F)
#: Four last places of a function, and a rounding or two after it.
NEAR = 8 * 2.0**-24


@pytest.mark.parametrize(
    "name, constants, attributes",
    [
        ("LeakyRelu", ((F, 0.1),), {"alpha": 0.1}), ("Elu", ((F, 1.5),), {"alpha": 1.5}),
        ("Celu", ((F, 1.5),), {"alpha": 1.5}), ("ThresholdedRelu", ((F, 1.25),), {"alpha": 1.25}),
        ("Selu", ((F, 1.67), (F, 1.05)), {"alpha": 1.67, "gamma": 1.05}),
        ("HardSigmoid", ((F, 0.3), (F, 0.4)), {"alpha": 0.3, "beta": 0.4}), ("HardSwish", (), {}), ("Relu", (), {}),
        ("Softplus", (), {}), ("Softsign", (), {}), ("Mish", (), {}), ("Sigmoid", (), {}), ("Erf", (), {}),
        ("Tanh", (), {}), ("Exp", (), {}), ("Gelu", (), {}), ("Sin", (), {}), ("Cos", (), {}), ("Round", (), {}),
        ("Sign", (), {}), ("Reciprocal", (), {}), ("Floor", (), {}), ("Neg", (), {}), ("Abs", (), {}),
    ],
)  # fmt: skip
def test_functions_mean_what_onnx_says(name, constants, attributes):
    (got,) = evaluate(of(name, F, constants=constants), (X,))
    np.testing.assert_allclose(got, by_onnx(name, (X,), **attributes), rtol=NEAR, atol=NEAR)


def test_more_operands_mean_what_onnx_says():
    rng = np.random.default_rng(1)
    y, z = rng.permutation(X), rng.permutation(X)
    for name in ("Min", "Max", "Sum", "Mean"):
        (got,) = evaluate(of(name, F, F, F), (X, y, z))
        np.testing.assert_allclose(got, by_onnx(name, (X, y, z)), rtol=NEAR, atol=NEAR)
    np.testing.assert_array_equal(evaluate(of("PRelu", F, F), (X, y))[0], by_onnx("PRelu", (X, y)))
    clipped = evaluate(of("Clip", F, constants=((F, -2.0), (F, 3.5))), (X,))[0]
    np.testing.assert_array_equal(clipped, by_onnx("Clip", (X, np.array(-2, F), np.array(3.5, F))))
    (got,) = evaluate(of("Gelu", F), (X,))
    (other,) = evaluate(of("GeluTanh", F), (X,))
    np.testing.assert_allclose(other, by_onnx("Gelu", (X,), approximate="tanh"), rtol=NEAR, atol=NEAR)
    assert not same(got, other)


def test_integers_mean_what_onnx_says():
    rng = np.random.default_rng(2)
    a, b = rng.integers(-50, 50, 400), rng.integers(1, 9, 400) * rng.choice([-1, 1], 400)
    np.testing.assert_array_equal(evaluate(of("Mod", L, L), (a, b))[0], by_onnx("Mod", (a, b)))
    np.testing.assert_array_equal(evaluate(of("Fmod", L, L), (a, b))[0], by_onnx("Mod", (a, b), fmod=1))
    chosen = evaluate(of("Where", B, L, L), (a > b, a, b))[0]
    np.testing.assert_array_equal(chosen, by_onnx("Where", (a > b, a, b)))


def test_regions_has_the_types_that_are_tested():
    assert all(special(kind).dtype == kind for kind in TYPES) and regions.same(special(F), special(F).copy())
