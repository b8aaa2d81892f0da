"""Every operator as a function of plain arrays, and a process in which the numpy twins answer for them.

    NUMBA_DISABLE_JIT=1 python tests/programs/extremes.py        reads pickles of (name, arguments), writes results

A result is a list of arrays, or an exception as text.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import dynq_numba as dq

GROUPED = {"granularity": "per_group", "group_size": 32}
SCHEMES: dict[str, dict] = {
    "per tensor": {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    "per channel": {"granularity": "per_channel"},
    "groups of 32": GROUPED,
    "4 bits": {"bits": 4, "granularity": "per_channel"},
    "4 bits, groups of 32": {"bits": 4, **GROUPED},
    "4 bits, zero points": {"bits": 4, "symmetric": False, **GROUPED},
}


def linear_of(scheme: str) -> Callable:
    def run(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
        w = dq.pack_linear(weight, bias, **SCHEMES[scheme])
        return [w.qweight, w.scale, dq.linear(x, w), dq.linear(x, w, activation="relu", threads=2)]

    return run


def linear_with_outliers(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
    return [dq.linear(x, dq.pack_linear(weight, bias, outliers=range(min(3, x.shape[1]))))]


def linear_many(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
    w = dq.pack_linear(weight, bias)
    return dq.linear_many(x, [w, w], threads=2)


def matmul(a: np.ndarray, b: np.ndarray) -> list:
    out = np.full((len(a), b.shape[1]), 7, np.float32)
    turned = np.ascontiguousarray(b.T).T  # columns contiguous
    return [dq.quantized_matmul(a, b), dq.quantized_matmul(a, b, out=out, threads=2), dq.quantized_matmul(a, turned)]


def matmul_integer(a: np.ndarray, b: np.ndarray) -> list:
    q, r = dq.quantize(a), dq.quantize(b)
    return [dq.matmul_integer(q.data, r.data, q.zero_point.reshape(-1), 3)]


def quantize(x: np.ndarray) -> list:
    results = []
    for dtype, symmetric in (("uint8", False), ("int8", False), ("uint8", True), ("int8", True)):
        for granularity in ("per_token", "per_tensor"):
            q = dq.quantize(x, dtype=dtype, symmetric=symmetric, granularity=granularity)
            results += [q.data, np.asarray(q.scale), np.asarray(q.zero_point), dq.dequantize(q)]
    return results


def conv(x: np.ndarray, weight: np.ndarray) -> list:
    return [dq.conv(x, dq.pack_conv(weight, padding=1, stride=stride), threads=stride) for stride in (1, 2)]


def embedding(table: np.ndarray, ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> list:
    results = []
    for bits in (8, 4):
        packed = dq.pack_embedding(table, bits=bits)
        results += [packed.dequantize(), dq.embedding(ids, packed)]
        results += [dq.embedding_bag(ids, offsets, packed, mode) for mode in ("sum", "mean", "max")]
        results.append(dq.embedding_bag(ids, offsets, packed, weights=weights))
    return results


def softmax(x: np.ndarray, other: np.ndarray) -> list:
    return [dq.softmax(x), dq.softmax(x, mask=other), dq.softmax(x, mask=other > 0), dq.softmax(x, axis=0)]


def norms(x: np.ndarray, other: np.ndarray) -> list:
    weight, bias = np.linspace(-2, 2, x.shape[1], dtype=np.float32), np.ones(x.shape[1], np.float32)
    results = []
    for eps in (0.0, 1e-42, 1e-5):
        results += [dq.layer_norm(x, eps=eps), dq.layer_norm(x, weight, bias, eps=eps, residual=other)]
        results += [dq.rms_norm(x, eps=eps), dq.rms_norm(x, weight, eps=eps, residual=other)]
    return results


def maps(x: np.ndarray, other: np.ndarray) -> list:
    return [dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, other)]


def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> list:
    return [dq.rotary(x, cos, sin), dq.rotary(x, cos, sin, interleaved=True)]


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> list:
    runs = [dq.attention(q, k, v, causal=causal, bits=bits) for causal in (False, True) for bits in (None, 8)]
    return [*runs, dq.attention(q, k, v, scale=1.0, threads=2), dq.attention(q[:, :, :1], k, v)]


def recurrent(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> list:
    results = []
    units = r.shape[-1]
    for pack, run, gates in ((dq.pack_lstm, dq.lstm, 4), (dq.pack_gru, dq.gru, 3), (dq.pack_rnn, dq.rnn, 1)):
        results += run(x, pack(w[:, : gates * units], r[:, : gates * units], layout="onnx"), threads=2)
    return results


OPERATORS: dict[str, Callable[..., list]] = {
    **{f"linear, {scheme}": linear_of(scheme) for scheme in SCHEMES},
    "linear, outliers": linear_with_outliers,
    "linear_many": linear_many, "matmul": matmul, "matmul_integer": matmul_integer, "quantize": quantize,
    "conv": conv, "embedding": embedding, "softmax": softmax, "norms": norms, "maps": maps, "rotary": rotary,
    "attention": attention, "recurrent": recurrent,
}  # fmt: skip


def answer(name: str, arguments: tuple) -> Any:
    try:
        return [np.array(result) for result in OPERATORS[name](*arguments)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class Twins:
    """A process without a compiler that answers as long as it is asked; every instruction set asks the same."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Any] = {}
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, name: str, arguments: tuple) -> Any:
        question = pickle.dumps((name, arguments))
        if question not in self._answers:
            self._process.stdin.write(question)
            self._process.stdin.flush()
            self._answers[question] = pickle.load(self._process.stdout)
        return self._answers[question]

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait(60) == 0


def main() -> None:
    results, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(answer(*question), results)
        results.flush()


if __name__ == "__main__":
    main()
