"""What every operator gives on a fixed grid, as sha256: the same on any machine, instruction set, and version of numba.

    python tests/programs/golden.py            compare with golden.json on every set of this machine, or those named
    python tests/programs/golden.py --write    write golden.json anew (when the numerics are meant to change: say why)

Inputs come from raw bits of PCG64 (a stream that numpy promises to keep) and exact steps, so they are the same
everywhere. A NaN is made the canonical one before it is hashed: its payload is the processor's choice.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dynq_numba as dq

FILE = Path(__file__).parent / "golden.json"
ROWS = [(1, 64, 48), (2, 131, 70), (15, 67, 131), (40, 256, 33), (70, 1, 17), (3, 1000, 16)]
SCHEMES = {
    "int8 per channel": {},
    "int8 per tensor": {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    "int8 groups of 32": {"granularity": "per_group", "group_size": 32},
    "int8 groups of 128": {"granularity": "per_group", "group_size": 128},
    "int4 per channel": {"bits": 4},
    "int4 groups of 32": {"bits": 4, "granularity": "per_group", "group_size": 32},
    "int4 groups of 64, zero points": {"bits": 4, "granularity": "per_group", "group_size": 64, "symmetric": False},
    "int4 groups of 32, rotated": {"bits": 4, "granularity": "per_group", "group_size": 32, "rotate": 32},
    "int8 per channel, outliers": {"granularity": "per_channel", "outliers": (40, 0, 15)},
    "int4 groups of 32, outliers": {"bits": 4, "granularity": "per_group", "group_size": 32, "outliers": (40, 0, 15)},
}
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
Arrays = Iterator[np.ndarray]
CASES: dict[str, Callable[[], Arrays]] = {}


def case(function: Callable[[], Arrays]) -> Callable[[], Arrays]:
    CASES[function.__name__.replace("_", " ")] = function
    return function


def raw(seed: int, *shape: int) -> np.ndarray:
    return np.random.PCG64(seed).random_raw(int(np.prod(shape))).reshape(shape)


def values(seed: int, *shape: int) -> np.ndarray:
    """float32 in [-2, 2), more of them near 0: the product of a value and a factor, each of 24 bits."""
    bits = raw(seed, *shape)
    value = ((bits >> np.uint64(40)).astype(np.float32) - np.float32(2**23)) / np.float32(2**22)
    return value * ((bits & np.uint64(0xFFFFFF)).astype(np.float32) / np.float32(2**24))


def special(seed: int, *shape: int) -> np.ndarray:
    """float32 of any bits: every exponent, denormals, infinities, NaN."""
    return (raw(seed, *shape) >> np.uint64(32)).astype(np.uint32).view(np.float32)


def below(seed: int, limit: int, *shape: int) -> np.ndarray:
    return (raw(seed, *shape) % np.uint64(limit)).astype(np.int64)


def linear_of(scheme: str) -> Callable[[], Arrays]:
    def run() -> Arrays:
        for m, k, n in ROWS:
            if k % SCHEMES[scheme].get("rotate", 1) or k <= max(SCHEMES[scheme].get("outliers", (0,))):
                continue
            x, weight, bias = values(1, m, k), values(2, n, k), values(3, n)
            w = dq.pack_linear(weight, bias, **SCHEMES[scheme])
            yield from (w.qweight, w.scale, w.dequantize(), dq.linear(x, w))
            yield dq.linear(x, w, activation="gelu", residual=values(4, m, n), threads=2)

    return run


for _scheme in SCHEMES:
    CASES[f"linear, {_scheme}"] = linear_of(_scheme)


@case
def linear_of_special_values() -> Arrays:
    x = special(5, 30, 70)
    yield dq.linear(x, dq.pack_linear(values(6, 40, 70)))
    x[np.isnan(x)] = 1
    yield dq.linear(np.minimum(np.maximum(x, -3e38), 3e38), dq.pack_linear(values(6, 40, 70)))
    yield dq.linear(values(5, 2, 70_001), dq.pack_linear(values(6, 20, 70_001)))


@case
def linear_many() -> Arrays:
    ws = [dq.pack_linear(values(seed, n, 90), values(seed + 1, n)) for seed, n in ((7, 40), (9, 130), (11, 1))]
    for m in (1, 9, 60):
        yield from dq.linear_many(values(13, m, 90), ws, threads=2)


@case
def chain() -> Arrays:
    sizes = (64, 90, 40), (66, 90, 40), (68, 40, 90)
    up, gate, down = (dq.pack_linear(values(seed, n, k), values(seed + 1, n)) for seed, n, k in sizes)
    steps = {
        "n": dq.step.RMSNorm(values(70, 40), residual="r", sum="h"),
        "gate": dq.step.Linear(gate), "up": dq.step.Linear(up, x="n", activation="gelu"),
        "inner": dq.step.SwiGLU("up", x="gate"), "down": dq.step.Linear(down, residual="h"),
        "y": dq.step.LayerNorm(values(71, 40), values(72, 40), residual="h"),
    }  # fmt: skip
    run = dq.Chain(steps, ("h", "up", "y"))
    for m in (1, 9, 130):
        yield from run(values(73, m, 40), r=values(74, m, 40), threads=2)


@case
def activations() -> Arrays:
    x = np.concatenate([special(15, 20_000), values(16, 20_000) * np.float32(8)])
    eye = dq.pack_linear(np.ones((1, 1)))
    for name in ACTIVATIONS:
        yield dq.linear(values(16, 2000, 1) * np.float32(8), eye, activation=name)
    yield from (dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, x[::-1].copy()))


@case
def quantize() -> Arrays:
    for x in (values(17, 33, 70), special(18, 33, 70)):
        for dtype, symmetric in (("uint8", False), ("int8", True)):
            for granularity in ("per_token", "per_tensor"):
                q = dq.quantize(x, dtype=dtype, symmetric=symmetric, granularity=granularity)
                yield from (q.data, np.asarray(q.scale), np.asarray(q.zero_point), dq.dequantize(q))


@case
def matmul() -> Arrays:
    yield dq.quantized_matmul(values(19, 3, 2, 17, 70), values(20, 3, 2, 70, 33))
    yield dq.quantized_matmul(values(21, 1, 64), values(22, 64, 50), threads=2)
    a, b = below(23, 256, 19, 131).astype(np.uint8), below(24, 256, 131, 40).astype(np.uint8)
    yield dq.matmul_integer(a, b.view(np.int8), 3, 0)
    yield dq.matmul_integer(a.view(np.int8), b, below(25, 9, 19).astype(np.int8), below(26, 9, 40).astype(np.uint8))


@case
def conv() -> Arrays:
    w = dq.pack_conv(values(27, 24, 8, 3, 3), values(28, 24), stride=2, padding=1, dilation=(1, 2))
    yield dq.conv(values(29, 2, 8, 21, 30), w, activation="silu", threads=2)
    w = dq.pack_conv(values(30, 16, 1, 5), values(31, 16), padding=((2, 1),), groups=16)
    yield dq.conv(values(32, 3, 16, 50), w)


@case
def embedding() -> Arrays:
    for bits in (8, 4):
        packed = dq.pack_embedding(values(33, 90, 37), bits=bits)
        ids, offsets = below(34, 90, 200), np.array([0, 0, 3, 50, 51, 120])
        yield dq.embedding(ids, packed)
        for mode in ("sum", "mean", "max"):
            yield dq.embedding_bag(ids, offsets, packed, mode)
        yield dq.embedding_bag(ids.astype(np.int32), offsets, packed, weights=values(35, 200))


@case
def floats() -> Arrays:
    for x in (values(36, 7, 131) * np.float32(20), special(37, 40, 33)):
        weight, bias, other = values(38, x.shape[1]), values(39, x.shape[1]), values(40, *x.shape)
        mask = below(41, 2, *x.shape).astype(bool)
        yield from (dq.softmax(x), dq.softmax(x, mask=mask), dq.softmax(x, axis=0))
        yield from (dq.layer_norm(x, weight, bias, residual=other), dq.rms_norm(x, weight, residual=other))


@case
def rotary() -> Arrays:
    cos, sin = dq.rotary_tables(70, 32)
    yield from (cos, sin)
    for interleaved in (False, True):
        yield dq.rotary(values(42, 2, 3, 60, 32), cos, sin, offset=5, interleaved=interleaved)


@case
def attention() -> Arrays:
    q, k, v = values(43, 2, 4, 20, 24) * np.float32(4), values(44, 2, 2, 150, 24), values(45, 2, 2, 150, 40)
    mask = values(46, 2, 1, 20, 150)
    mask[below(47, 3, 2, 1, 20, 150) == 0] = -np.inf
    yield from (dq.attention(q, k, v), dq.attention(q, k, v, causal=True, threads=2), dq.attention(q, k, v, mask=mask))
    yield from (dq.attention(q, k, v, key_lengths=np.array([130, 7])), dq.attention(q[:, :, :1], k, v))


@case
def attention_int8() -> Arrays:
    q, k, v = values(64, 2, 4, 70, 24) * np.float32(4), values(65, 2, 2, 150, 24), values(66, 2, 2, 150, 40)
    mask = values(67, 2, 1, 70, 150)
    mask[below(68, 3, 2, 1, 70, 150) == 0] = -np.inf
    for options in ({}, {"causal": True, "threads": 2}, {"mask": mask}, {"key_lengths": np.array([130, 7])}):
        yield dq.attention(q, k, v, bits=8, **options)
    yield dq.attention(q[:, :, :1], k, v, bits=8)


@case
def recurrent() -> Arrays:
    x, h, lengths = values(48, 9, 3, 20), values(49, 2, 3, 24), np.array([9, 1, 6])
    kinds = (50, 4, dq.pack_lstm, dq.lstm), (53, 3, dq.pack_gru, dq.gru), (56, 1, dq.pack_rnn, dq.rnn)
    for seed, gates, pack, run in kinds:
        w, r, b = values(seed, 2, gates * 24, 20), values(seed + 1, 2, gates * 24, 24), values(seed + 2, 2, gates * 48)
        packed = pack(w, r, b)
        states = (h, values(59, 2, 3, 24)) if run is dq.lstm else (h,)
        for result in (run(x, packed), run(x, packed, *states, lengths=lengths, threads=2)):
            yield from result
    more = {"peepholes": values(60, 1, 3 * 24), "projection": values(61, 1, 10, 24), "clip": 0.9}
    yield from dq.lstm(x, dq.pack_lstm(values(62, 1, 96, 20), values(63, 1, 96, 10), layout="onnx", **more))


def digest(name: str) -> str:
    """The sha256 of a case's arrays: dtypes, shapes and bytes."""
    sha = hashlib.sha256()
    for array in CASES[name]():
        if array.dtype == np.float32:
            array = np.where(np.isnan(array), np.float32(np.nan), array)
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        sha.update(f"{array.dtype.name} {array.shape}".encode() + little.tobytes())
    return sha.hexdigest()


def main() -> int:
    if "--write" in sys.argv[1:]:
        FILE.write_text(json.dumps({name: digest(name) for name in CASES}, indent=1) + "\n")
    kept, wrong = json.loads(FILE.read_text()), 0
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    for isa in chosen or dq.available_isas():
        with dq.force_isa(isa):
            differ = [name for name in CASES if digest(name) != kept.get(name)]
        wrong += len(differ)
        told = f"{isa}: {len(CASES) - len(differ)} of {len(CASES)} cases as in {FILE.name}"
        print(told, *differ, sep="\n  ", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
