"""After a warm-up nothing is left to compile: in another process, every public function finds its kernels on disk."""

import json
import os
import subprocess
import sys

import pytest

import dynq_numba as dq

CALLS = """
import itertools, json, sys, tempfile
import numpy as np
from numba.core import event

compiled, step = {}, ""

class Listener(event.Listener):
    def on_start(self, event): compiled.setdefault(step, []).append(event.data["dispatcher"].py_func.__qualname__)
    def on_end(self, event): pass

event.register("numba:compile", Listener())
import dynq_numba as dq

rng = np.random.default_rng(0)

def normal(*shape):
    return rng.standard_normal(shape, np.float32)

def linears():
    x, weight, residual = normal(40, 300), normal(70, 300), normal(40, 70)
    schemes = [
        {}, {"granularity": "per_tensor"}, {"x_granularity": "per_tensor"}, {"symmetric": False}, {"rotate": 64},
        {"outliers": [3, 5]}, {"granularity": "per_group", "group_size": 32},
        *({"bits": 4, "granularity": "per_group", "group_size": 32, "symmetric": s} for s in (True, False)),
    ]
    packed = []
    for options in schemes:
        try:
            packed.append(dq.pack_linear(weight, normal(70), **options))
        except ValueError:
            continue  # schemes that exclude each other
        w = packed[-1]
        w.qweight, w.scale, w.zero_point, w.nbytes, w.dequantize(), w == w, repr(w)
    assert len(packed) >= 7
    for w, threads, activation in itertools.product(packed, (None, 1, 2), (None, "relu", "gelu", "silu", "sigmoid")):
        dq.linear(x, w, activation=activation, threads=threads)
        dq.linear(x[:1], w, activation=activation, residual=residual[:1], out=np.empty((1, 70), np.float32))
        dq.linear_many(x, [w, w], activation=activation, threads=threads)
    dq.linear(normal(1, 70_000), dq.pack_linear(normal(2, 70_000)))
    up, down = packed[0], dq.pack_linear(normal(300, 70))
    chain = dq.Chain({
        "up": dq.step.Linear(up, activation="gelu"), "down": dq.step.Linear(down),
        "y": dq.step.LayerNorm(normal(300), normal(300), residual="x"), "z": dq.step.RMSNorm(normal(300)),
    })
    for rows in (1, 40, 3000):
        chain(normal(rows, 300))
    dq.smooth(weight, np.abs(x).max(0))
    with tempfile.TemporaryDirectory() as folder:
        dq.save(folder + "/model", {str(i): w for i, w in enumerate(packed)})
        for name, w in dq.load(folder + "/model").items():
            dq.linear(x, w)

def conversions():
    x = normal(20, 30)
    for form, dtype in itertools.product(({}, {"axis": 0}, {"granularity": "per_tensor"}), ("uint8", "int8")):
        dq.dequantize(dq.quantize(x, dtype=dtype, **form))
        dq.dequantize(dq.quantize(x, dtype="int8", symmetric=True, **form))
    dq.dequantize(dq.quantize(normal(2, 300_000)))
    for a, b in itertools.product((np.int8, np.uint8), repeat=2):
        dq.matmul_integer(np.ones((3, 4), a), np.ones((4, 5), b), 1, 2)
    dq.quantized_matmul(normal(3, 4, 50), normal(50, 20))
    dq.quantized_matmul(normal(200, 300), normal(300, 200), threads=2)

def floats():
    x = normal(30, 64)
    for mask in (None, normal(30, 64), np.ones((1, 64), bool)):
        dq.softmax(x, mask=mask)
    for norm in (dq.layer_norm, dq.rms_norm):
        for weight, residual in itertools.product((None, normal(64)), (None, x)):
            norm(x, weight, residual=residual)
    dq.layer_norm(x, normal(64), normal(64))
    dq.gelu(x), dq.silu(x), dq.swiglu(x), dq.swiglu(x, x)
    cos, sin = dq.rotary_tables(30, 64)
    dq.rotary(x[None, None], cos, sin)
    q = normal(2, 4, 30, 64)
    cache = dq.KVCache(2, 4, 40, 64)
    cache.append(q, q)
    dq.attention(q, cache.keys, cache.values)
    for options in ({}, {"causal": True}, {"mask": np.ones((30, 30), bool)}, {"mask": normal(30, 30)},
                    {"key_lengths": np.array([3, 30])}):
        for bits in (None, 8):
            dq.attention(q, q, q, bits=bits, **options)
            dq.attention(q[:, :, :1], q, q, bits=bits, **{k: v for k, v in options.items() if k != "mask"})

def layers():
    ids = np.arange(12).reshape(3, 4)
    for bits in (8, 4):
        table = dq.pack_embedding(normal(20, 64), bits=bits)
        for dtype in (np.int32, np.int64):
            dq.embedding(ids.astype(dtype), table)
            for mode in ("sum", "mean", "max"):
                dq.embedding_bag(ids.astype(dtype), None, table, mode)
                dq.embedding_bag(ids.reshape(-1), np.array([0, 5]), table, mode)
        dq.embedding_bag(ids.reshape(-1), np.array([0, 5]), table, weights=np.ones(12, np.float32))
    for w, x in ((dq.pack_conv(normal(8, 4, 3, 3), normal(8), padding=1), normal(2, 4, 9, 9)),
                 (dq.pack_conv(normal(8, 1, 3), groups=8, stride=2), normal(2, 8, 30))):
        for activation in (None, "relu", "silu"):
            dq.conv(x, w, activation=activation)
    steps = normal(6, 2, 20)
    for pack, run, cell, gates in ((dq.pack_lstm, dq.lstm, dq.lstm_cell, 4), (dq.pack_gru, dq.gru, dq.gru_cell, 3),
                                   (dq.pack_rnn, dq.rnn, dq.rnn_cell, 1)):
        for directions in (1, 2):
            w = pack(normal(directions, gates * 24, 20), normal(directions, gates * 24, 24))
            run(steps, w), run(steps, w, lengths=np.array([6, 3]), threads=2)
        w = pack(normal(gates * 24, 20), normal(gates * 24, 24))
        cell(steps[0], w), cell(steps[0], w, normal(2, 24))

for step in sys.argv[1:]:
    globals()[step]()
print(json.dumps(compiled))
"""


pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no cache on this system")


def child(*arguments, folder):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment | {"NUMBA_CACHE_DIR": str(folder)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_compiled_after_a_warmup(tmp_path):
    child("-m", "dynq_numba", "warmup", folder=tmp_path)
    assert json.loads(child("-c", CALLS, "linears", "conversions", "floats", "layers", folder=tmp_path)) == {}


def test_what_is_not_warmed_up_is_noticed(tmp_path):
    assert "conversions" in json.loads(child("-c", CALLS, "conversions", folder=tmp_path))


def test_processes_share_a_warmup(tmp_path):
    """All is found on disk afterwards; nothing is left to the process that waits for them."""
    child("-m", "dynq_numba", "warmup", "--jobs", "2", folder=tmp_path)
    assert json.loads(child("-c", CALLS, "linears", "conversions", "floats", "layers", folder=tmp_path)) == {}


@pytest.mark.parametrize("jobs, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_jobs_that_are_no_count_are_told(jobs, error):
    with pytest.raises(error, match="jobs must be"):
        dq.warmup(jobs=jobs)


def test_a_process_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"warmup\(jobs=2\) failed"):
        dq.warmup(jobs=2)
