"""Bad input: ValueError or TypeError naming the argument, what it was and what is allowed; nothing is written."""

import ml_dtypes
import numba
import numpy as np
import problems
import pytest

import dynq_numba as dq

F32 = np.float32
M, K, N = 5, 40, 12


def case(name, *message, **arguments):
    """A bad call: the argument at fault, what its message must say besides the name, and the arguments to replace."""
    return pytest.param(name, message, arguments, id=f"{name}-{'-'.join(message)}"[:60])


def array(*shape, dtype=F32):
    """An array of ones, float32 unless told."""
    return np.ones(shape, dtype)


def read_only(x):
    """`x`, no longer writable."""
    x.flags.writeable = False
    return x


@numba.njit
def of_two(a, b):
    return a + b


@numba.njit
def gives_a_pair(v):
    return v, v


def assert_refused(name, message, function, *args, **kwargs):
    """The call raises, and its message has the argument's name and every fragment."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    for fragment in (name, *message):
        assert fragment in text, f"{fragment!r} is missing in: {text}"


PACK = [
    case("bits", "3", "4", "8", bits=3),
    case("bits", "16", "4", "8", bits=16),
    case("bits", "8", bits="8"),
    case("bits", "None", bits=None),
    case("granularity", "per_row", "per_tensor", "per_channel", "per_group", "auto", granularity="per_row"),
    case("granularity", "None", "per_channel", granularity=None),
    case("scheme", "int9", "'int8_per_channel'", scheme="int9"),
    case("scheme", "Choice", "8", scheme=8),
    case("scheme", "bits", bits=4, scheme="int4_per_channel"),
    case("scheme", "granularity", granularity="per_channel", scheme="int8_per_channel"),
    case("group_size", "48", "32", "64", "128", granularity="per_group", group_size=48),
    case("group_size", "0", "32", granularity="per_group", group_size=0),
    case("group_size", "-32", "64", granularity="per_group", group_size=-32),
    case("group_size", "32.5", "64", granularity="per_group", group_size=32.5),
    case("group_size", "32", "per_group", granularity="per_channel", group_size=32),
    case("group_size", "64", "per_group", granularity="per_tensor", group_size=64),
    case("symmetric", "bits=4", "per_group", "auto", symmetric=False, bits=4),
    case("symmetric", "bits=8", "per_group", symmetric=False, granularity="per_group"),
    case("symmetric", "bits=4", "per_channel", symmetric=False, bits=4, granularity="per_channel"),
    case("symmetric", "None", "True", symmetric=None),
    case("symmetric", "0", "False", symmetric=0, bits=4, granularity="per_group"),
    case("x_granularity", "per_row", "per_token", "per_tensor", x_granularity="per_row"),
    case("x_bits", "4", "8", "16", x_bits=4),
    case("x_bits", "bits=4", "bits=8", x_bits=16, bits=4),
    case("x_bits", "per_group", "per_channel", "per_tensor", x_bits=16, group_size=32),
    case("x_bits", "outliers=[3]", x_bits=16, outliers=[3]),
    case("weight", "(40,)", weight=array(K)),
    case("weight", "(2, 12, 40)", weight=array(2, N, K)),
    case("weight", "()", weight=array()),
    case("weight", "int32", "float32", weight=array(N, K, dtype=np.int32)),
    case("weight", "int8", "float32", weight=array(N, K, dtype=np.int8)),
    case("weight", "complex64", "float32", weight=array(N, K, dtype=np.complex64)),
    case("weight", "bool", "float32", weight=array(N, K, dtype=bool)),
    case("weight", "object", "float32", weight=array(N, K, dtype=object)),
    case("weight", "str", weight="weights"),
    case("weight", "None", weight=None),
    case("bias", "(13,)", "12", bias=array(N + 1)),
    case("bias", "(1, 12)", "12", bias=array(1, N)),
    case("bias", "(1,)", "12", bias=array(1)),
    case("bias", "complex64", "float32", bias=array(N, dtype=np.complex64)),
    case("bias", "str", bias="none"),
]


@pytest.mark.parametrize(("name", "message", "arguments"), PACK)
def test_pack_linear(name, message, arguments):
    arguments = {"weight": array(N, K), "bias": array(N), **arguments}
    assert_refused(name, message, dq.pack_linear, arguments.pop("weight"), arguments.pop("bias"), **arguments)


LINEAR = [
    case("x", "41", "40", x=array(M, K + 1)),
    case("x", "39", "40", x=array(2, M, K - 1)),
    case("x", "1", "40", x=array(M, 1)),
    case("x", "()", x=array()),
    case("x", "int32", "float32", x=array(M, K, dtype=np.int32)),
    case("x", "uint8", "float32", x=array(M, K, dtype=np.uint8)),
    case("x", "complex64", "float32", x=array(M, K, dtype=np.complex64)),
    case("x", "object", "float32", x=array(M, K, dtype=object)),
    case("x", "None", x=None),
    case("w", "array", "PackedLinear", w=array(N, K)),
    case("w", "NoneType", "PackedLinear", w=None),
    case("activation", "swish", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", activation="swish"),
    case("activation", "GELU", "gelu", activation="GELU"),
    case("activation", "3", "gelu", activation=3),
    case("residual", "(5, 13)", "(5, 12)", residual=array(M, N + 1)),
    case("residual", "(12,)", "(5, 12)", residual=array(N)),
    case("residual", "(1, 5, 12)", "(5, 12)", residual=array(1, M, N)),
    case("residual", "int32", "float32", residual=array(M, N, dtype=np.int32)),
    case("residual", "complex128", "float32", residual=array(M, N, dtype=complex)),
    case("residual", "str", residual="x"),
    case("epilogue", "3", "njit", epilogue=3),
    case("epilogue", "relu", "njit", epilogue="relu"),
    case("epilogue", "of_two", epilogue=of_two),
    case("epilogue", "gives_a_pair", epilogue=gives_a_pair),
    case("threads", "0", threads=0),
    case("threads", "-1", threads=-1),
    case("threads", "1.5", threads=1.5),
    case("threads", "two", threads="two"),
]


@pytest.mark.parametrize(("name", "message", "arguments"), LINEAR)
@pytest.mark.parametrize("scheme", [{"granularity": "per_channel"}, {"granularity": "per_group", "bits": 4}], ids=str)
def test_linear_writes_nothing(name, message, arguments, scheme):
    out = problems.poisoned((M, N))
    arguments = {"x": array(M, K), "w": dq.pack_linear(array(N, K), **scheme), **arguments}
    assert_refused(name, message, dq.linear, arguments.pop("x"), arguments.pop("w"), out=out, **arguments)
    assert problems.untouched(out, np.zeros(out.shape, bool)), "out was written"


OUT = {
    "float64": (lambda: np.zeros((M, N)), ("float64", "float32")),
    "float16": (lambda: np.zeros((M, N), np.float16), ("float16", "float32")),
    "bfloat16": (lambda: np.zeros((M, N), ml_dtypes.bfloat16), ("bfloat16", "float32")),
    "int32": (lambda: np.zeros((M, N), np.int32), ("int32", "float32")),
    "big-endian": (lambda: np.zeros((M, N), ">f4"), ("float32",)),
    "too wide": (lambda: problems.poisoned((M, N + 1)), ("(5, 13)", "(5, 12)")),
    "too many rows": (lambda: problems.poisoned((M + 1, N)), ("(6, 12)", "(5, 12)")),
    "transposed": (lambda: problems.poisoned((N, M)), ("(12, 5)", "(5, 12)")),
    "flat": (lambda: problems.poisoned(M * N), ("(60,)", "(5, 12)")),
    "leading axis": (lambda: problems.poisoned((1, M, N)), ("(1, 5, 12)", "(5, 12)")),
    "read-only": (lambda: read_only(problems.poisoned((M, N))), ("writ",)),
    "column major": (lambda: problems.poisoned((N, M)).T, ("contiguous",)),
    "every other column": (lambda: problems.poisoned((M, 2 * N))[:, ::2], ("contiguous",)),
    "columns reversed": (lambda: problems.poisoned((M, N))[:, ::-1], ("contiguous",)),
    "list": (lambda: [[0.0] * N] * M, ("list",)),
}


@pytest.mark.parametrize("kind", OUT)
def test_bad_out_is_not_written(kind):
    make, message = OUT[kind]
    out = make()
    before = np.array(out).tobytes()
    assert_refused("out", message, dq.linear, array(M, K), dq.pack_linear(array(N, K)), out=out)
    assert np.array(out).tobytes() == before


QUANTIZE = [
    case("x", "int32", "float32", x=array(M, K, dtype=np.int32)),
    case("x", "complex64", "float32", x=array(M, K, dtype=np.complex64)),
    case("x", "()", x=array()),
    case("x", "None", x=None),
    case("granularity", "per_row", "per_token", "per_tensor", granularity="per_row"),
    case("granularity", "3", "per_token", granularity=3),
    case("dtype", "int4", "uint8", "int8", dtype="int4"),
    case("dtype", "float32", "uint8", "int8", dtype=F32),
    case("dtype", "None", "uint8", dtype=None),
    case("axis", "2", axis=2),
    case("axis", "-3", axis=-3),
    case("axis", "rows", axis="rows"),
    case("axis", "0.5", axis=0.5),
    case("symmetric", "maybe", symmetric="maybe"),
]


@pytest.mark.parametrize(("name", "message", "arguments"), QUANTIZE)
def test_quantize(name, message, arguments):
    arguments = {"x": array(M, K), **arguments}
    assert_refused(name, message, dq.quantize, arguments.pop("x"), **arguments)


BYTES_OUT = {
    "int8": (lambda: np.zeros((M, K), np.int8), ("int8", "uint8")),
    "float32": (lambda: np.zeros((M, K), F32), ("float32", "uint8")),
    "too wide": (lambda: np.zeros((M, K + 1), np.uint8), ("(5, 41)", "(5, 40)")),
    "read-only": (lambda: read_only(np.zeros((M, K), np.uint8)), ("writ",)),
    "column major": (lambda: np.zeros((K, M), np.uint8).T, ("contiguous",)),
    "list": (lambda: [[0] * K] * M, ("list",)),
}


@pytest.mark.parametrize("kind", BYTES_OUT)
def test_quantize_into_a_bad_out(kind):
    make, message = BYTES_OUT[kind]
    out = make()
    assert_refused("out", message, dq.quantize, array(M, K), out=out)
    assert not np.array(out).any(), "out was written"


@pytest.mark.parametrize("kind", OUT)
def test_dequantize_into_a_bad_out(kind):
    make, message = OUT[kind]
    out = make()
    before = np.array(out).tobytes()
    assert_refused("out", message, dq.dequantize, dq.quantize(array(M, N)), out=out)
    assert np.array(out).tobytes() == before


def test_dequantize():
    assert_refused("q", ("array", "Quantized"), dq.dequantize, array(M, K))
    assert_refused("q", ("None",), dq.dequantize, None)


def small(*shape, dtype=np.uint8):
    """An array of ones, uint8 unless told."""
    return np.ones(shape, dtype)


MATMUL = [
    case("a", "float32", "uint8", "int8", a=array(M, K)),
    case("a", "int32", "uint8", "int8", a=small(M, K, dtype=np.int32)),
    case("a", "bool", "uint8", a=small(M, K, dtype=bool)),
    case("b", "float64", "uint8", "int8", b=array(K, N, dtype=float)),
    case("b", "41", "40", b=small(K + 1, N)),
    case("a", "()", a=small()),
    case("b", "()", b=small()),
    case("a", "(2, 5, 40)", "(3, 40, 12)", a=small(2, M, K), b=small(3, K, N)),
    case("a_zero_point", "256", "255", a_zero_point=256),
    case("a_zero_point", "-1", "0", a_zero_point=-1),
    case("a_zero_point", "128", "127", a=small(M, K, dtype=np.int8), a_zero_point=128),
    case("b_zero_point", "-129", "-128", b=small(K, N, dtype=np.int8), b_zero_point=-129),
    case("b_zero_point", "300", "255", b_zero_point=np.array([0] * (N - 1) + [300])),
    case("a_zero_point", "1.5", a_zero_point=1.5),
    case("a_zero_point", "float32", a_zero_point=array(M)),
    case("a_zero_point", "(6,)", "5", a_zero_point=small(M + 1)),
    case("a_zero_point", "(5, 2)", a_zero_point=small(M, 2)),
    case("b_zero_point", "(13,)", "12", b_zero_point=small(N + 1)),
    case("b_zero_point", "(40, 1)", b_zero_point=small(K, 1)),
    case("a_zero_point", "None", a_zero_point=None),
]


@pytest.mark.parametrize(("name", "message", "arguments"), MATMUL)
def test_matmul_integer(name, message, arguments):
    arguments = {"a": small(M, K), "b": small(K, N), **arguments}
    assert_refused(name, message, dq.matmul_integer, **arguments)


CHOOSE = [
    case("max_error", "-0.1", max_error=-0.1),
    case("max_error", "nan", max_error=float("nan")),
    case("max_error", "small", max_error="small"),
    case("weight", "(40,)", weight=array(K)),
    case("weight", "int8", "float32", weight=array(N, K, dtype=np.int8)),
]


@pytest.mark.parametrize(("name", "message", "arguments"), CHOOSE)
def test_choose_scheme(name, message, arguments):
    arguments = {"weight": array(N, K), **arguments}
    assert_refused(name, message, dq.choose_scheme, arguments.pop("weight"), **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    weight = array(N, K)
    weight[3, 7] = value
    assert_refused("weight", ("finite",), dq.pack_linear, weight)


def test_arguments_after_the_star_are_keyword_only():
    w = dq.pack_linear(array(N, K))
    for function, args in [
        (dq.pack_linear, (array(N, K), None, 8)),
        (dq.linear, (array(M, K), w, "relu")),
        (dq.quantize, (array(M, K), "per_token")),
    ]:
        with pytest.raises(TypeError, match="positional"):
            function(*args)
