"""What outlives what: caches filled by several processes, weights held by compiled code, calls without memory."""

import gc
import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq
from dynq_numba.operators.linear.packed import PackedLinear

F32 = np.float32

# Usage: child.py WHAT...   each WHAT is "bits:group:activation"; prints one checksum a line.
VARIANTS = """
import hashlib, sys
import numba, numpy as np
import dynq_numba as dq

rng = np.random.default_rng(5)
x, weight = rng.standard_normal((9, 130)).astype(np.float32), rng.standard_normal((40, 130)).astype(np.float32)
for what in sys.argv[1:]:
    bits, group, activation = what.split(":")
    scheme = {"bits": int(bits), "granularity": "per_group" if int(group) else "per_channel"}
    w = dq.pack_linear(weight, group_size=int(group) or None, **scheme)
    print(hashlib.sha256(dq.linear(x, w, activation=activation).tobytes()).hexdigest())
"""

OUT_OF_MEMORY = """
import resource
import numpy as np
import dynq_numba as dq

k = 60_000
w = dq.pack_linear(np.ones((8, k), np.float32))
x, out = np.ones((4096, k), np.float32), np.full((4096, 8), -5, np.float32)
dq.linear(x[:32], w, out=out[:32], threads=1)
pages = int(open("/proc/self/statm").read().split()[0])
free = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), free[1]))
try:
    dq.linear(x, w, out=out, threads=1)
except MemoryError as error:
    print("MemoryError", error)
resource.setrlimit(resource.RLIMIT_AS, free)
y = dq.linear(x[:3], w)
print("usable", bool((y == y[0]).all()) and abs(float(y[0, 0]) - k) < 1)
"""


def child(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_variants_compiled_by_separate_processes_stay_apart(tmp_path):
    """Each process numbers its functions from one: two variants must not come out of the cache under one symbol."""
    variants = ("8:0:relu", "4:0:gelu", "8:32:silu")
    alone = [child(VARIANTS, what, NUMBA_CACHE_DIR=str(tmp_path)).stdout.split() for what in variants]
    together = child(VARIANTS, *variants, NUMBA_CACHE_DIR=str(tmp_path))
    assert together.returncode == 0, together.stderr
    assert [[line] for line in together.stdout.split()] == alone
    assert len({line for (line,) in alone}) == len(variants)


@numba.njit
def first_of(x, layers):
    return dq.linear(x, layers[0])


def test_a_weight_held_only_by_compiled_code_stays_alive(rng):
    x, weight, bias = problems.normal_problem(rng, 12, 67, 33)
    layers = numba.typed.List()
    layers.append(dq.pack_linear(weight, bias, granularity="per_channel"))
    gc.collect()
    spoilt = [np.full(33 * 128, 85, np.uint8) for _ in range(200)]  # takes the place of whatever was freed
    oracle.assert_same_bits(first_of(x, layers), oracle.linear(x, oracle.pack(weight, bias)))
    assert len(spoilt) == 200


@numba.njit
def compiled_dequantize(q):
    return dq.dequantize(q)


@numba.njit
def into(x, w, out):
    return dq.linear(x, w, out=out)


def test_dequantize_of_strided_parts(rng):
    q = dq.quantize(rng.standard_normal((8, 30)).astype(F32))
    whole = dq.dequantize(q)
    for step in (2, -1, -3):
        part = dq.Quantized(q.data[::step], q.scale[::step], q.zero_point[::step], -1)
        oracle.assert_same_bits(dq.dequantize(part), whole[::step])
        oracle.assert_same_bits(compiled_dequantize(part), whole[::step])


def test_compiled_dequantize_refuses_what_it_would_misread(rng):
    x = rng.standard_normal((4, 30)).astype(F32)
    with pytest.raises(ValueError, match="axis"):
        compiled_dequantize(dq.quantize(x, axis=0))
    q = dq.quantize(x)
    with pytest.raises(ValueError, match="zero_point"):
        compiled_dequantize(dq.Quantized(q.data, q.scale, q.zero_point[:1], -1))
    with pytest.raises(ValueError, match="scale"):
        compiled_dequantize(dq.Quantized(q.data, q.scale[:3], q.zero_point[:3], -1))


def test_compiled_linear_refuses_a_read_only_out(rng):
    x, weight, _ = problems.normal_problem(rng, 2, 16, 4)
    frozen = np.frombuffer(bytes(32), F32).reshape(2, 4)
    with pytest.raises(numba.core.errors.TypingError, match="out must be a writable"):
        into(x, dq.pack_linear(weight), frozen)
    assert not frozen.any()


def test_an_error_while_unboxing_is_an_exception(rng, monkeypatch):
    x, weight, _ = problems.normal_problem(rng, 2, 16, 4)
    layers = (dq.pack_linear(weight),)
    expected = first_of(x, layers)

    def fail(self):
        raise MemoryError("no room for a layout")

    with monkeypatch.context() as patched:
        patched.setattr(PackedLinear, "_descriptor", fail)
        with pytest.raises(MemoryError, match="no room"):
            first_of(x, layers)
    oracle.assert_same_bits(first_of(x, layers), expected)


def test_out_of_memory_is_told_and_leaves_everything_usable():
    if not sys.platform.startswith("linux"):
        pytest.skip("limits the address space by way of /proc")
    done = child(OUT_OF_MEMORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("MemoryError"), done.stdout
    assert done.stdout.splitlines()[-1] == "usable True"


def test_equality_is_by_value(rng):
    _, weight, bias = problems.normal_problem(rng, 1, 67, 33)
    w = dq.pack_linear(weight, bias)
    with dq.force_isa("portable"):
        other = dq.pack_linear(weight, bias)
    assert w == other and hash(w) == hash(other)
    assert w != dq.pack_linear(weight) and w != dq.pack_linear(weight, bias, bits=4) and w != "w"
    weight[3, 5] += 1
    assert w != dq.pack_linear(weight, bias)
