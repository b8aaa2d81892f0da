"""What tests save: every kind of packed weight with every option, and arrays of every type."""

import ml_dtypes
import numpy as np

import dynq_numba as dq

SCHEMES = [
    {"bits": bits, "granularity": granularity, "group_size": size, "symmetric": symmetric}
    for bits in (8, 4)
    for granularity, size in (("per_tensor", None), ("per_channel", None), ("per_group", 32), ("per_group", 128))
    for symmetric in ((True, False) if bits == 4 and size else (True,))
]
SHAPES = ((33, 131), (1, 1), (0, 5), (4, 0), (18, 96))


def linears(rng):
    for scheme in SCHEMES:
        for n, k in SHAPES:
            weight, bias = rng.standard_normal((n, k), np.float32), rng.standard_normal(n, np.float32)
            rotate = 32 if k == 96 else None
            outliers = [130, 0] if k == 131 else None
            options = {"x_granularity": "per_tensor" if n == 1 else "per_token", "rotate": rotate, "outliers": outliers}
            yield dq.pack_linear(weight, bias if n % 2 else None, **scheme, **options)
    yield from linears_of_16_bits(rng)


def linears_of_16_bits(rng):
    for n, k in SHAPES:
        for granularity in ("per_channel", "per_tensor"):
            weight = rng.standard_normal((n, k), np.float32)
            yield dq.pack_linear(weight, granularity=granularity, x_bits=16)


def small(rng):
    """One of each kind, few bytes."""

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    h = 3
    two = {"activations": ["HardSigmoid", "Tanh", "Elu"] * 2, "activation_alpha": [0.1, np.inf, 0.3, 0.4]}
    return {
        "linear": dq.pack_linear(normal(3, 5), normal(3)),
        "linear4": dq.pack_linear(normal(2, 33), bits=4, granularity="per_group", group_size=32),
        "linear4z": dq.pack_linear(normal(2, 33), bits=4, granularity="per_group", symmetric=False),
        "outliers": dq.pack_linear(normal(3, 6), outliers=[4, 1]),
        "rotated": dq.pack_linear(normal(1, 16), bits=4, granularity="per_tensor", rotate=16),
        "conv": dq.pack_conv(normal(4, 2, 3, 2), normal(4), stride=(2, 1), padding=[(1, 2), (0, 1)], groups=2),
        "conv1": dq.pack_conv(normal(2, 3, 2), dilation=3),
        "embedding": dq.pack_embedding(normal(4, 3)),
        "embedding4": dq.pack_embedding(normal(4, 3), bits=4),
        "lstm": dq.pack_lstm(
            normal(2, 4 * h, 2), normal(2, 4 * h, h), normal(2, 8 * h), peepholes=normal(2, 3 * h), clip=1 / 3,
            input_forget=True, layout="onnx", **two,
        ),
        "projected": dq.pack_lstm(
            normal(4 * h, 2), normal(4 * h, 2), projection=normal(2, h), direction="reverse", layout="onnx"
        ),
        "gru": dq.pack_gru(normal(3 * h, 2), normal(3 * h, h), normal(6 * h), layout="onnx"),
        "gru_torch": dq.pack_gru(normal(2, 3 * h, 2), normal(2, 3 * h, h), normal(2, 6 * h), layout="torch"),
        "rnn": dq.pack_rnn(normal(h, 0), normal(h, h), activations=["Softsign"]),
        "linear16": dq.pack_linear(normal(3, 5), x_bits=16),
    }  # fmt: skip


def arrays(rng):
    values = rng.standard_normal((3, 4)) * 50
    types = "?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "<c8", ml_dtypes.bfloat16
    plain = {f"array.{np.dtype(kind)}": values.astype(kind) for kind in types}
    return plain | {
        "": np.arange(3), "ünï \n\0": np.full((), 7.0), "empty": np.empty((0, 3), np.int16),
        "transposed": values.T, "reversed": values[::-1, ::2], "column": values[:, 1:2],
    }  # fmt: skip


def chains(rng):
    """One with every step and option, of (x, addend), and one that gives an array; both take rows of 33."""
    up, down = (dq.pack_linear(rng.standard_normal(shape, np.float32)) for shape in ((16, 33), (33, 16)))
    weight, bias = rng.standard_normal((2, 33), np.float32)
    steps = {
        "up": dq.step.Linear(up, activation="gelu"),
        "gate": dq.step.Linear(up, x="x"),
        "inner": dq.step.SwiGLU("up"),
        "down": dq.step.Linear(down, residual="addend"),
        "norm": dq.step.LayerNorm(weight, bias, eps=1e-3, residual="x", sum="total"),
        "y": dq.step.RMSNorm(weight, x="total"),
    }
    return dq.Chain(steps, ["y", "norm", "total"]), dq.Chain({"y": dq.step.RMSNorm(bias)})


def same(a, b):
    """Equal to the bit, types and shapes too."""
    if type(a) in (list, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, dq.Chain):
        (steps, returns), (others, given) = a.__reduce__()[1], b.__reduce__()[1]
        mine, theirs = ({name: vars(each) for name, each in each.items()} for each in (steps, others))
        return returns == given and same(mine, theirs) and [*map(type, steps.values())] == [*map(type, others.values())]
    if a is None or isinstance(a, (str, float)):
        return type(a) is type(b) and a == b
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b and repr(a) == repr(b)
