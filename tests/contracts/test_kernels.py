"""Below the API: what each instruction means, what a layout holds, what the registry is called."""

import itertools
import re
from fractions import Fraction

import numpy as np
import oracle
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import dynq_numba as dq
from bench.publish import matrix, pages
from dynq_numba.kernels.base import exact as exactly
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, keep
from dynq_numba.kernels.gemm import pack
from dynq_numba.kernels.gemm.tile import Output, Scheme, Tile
from dynq_numba.kernels.isa.base import VECTORS
from dynq_numba.kernels.isa.emitter import I32, Emitter
from dynq_numba.kernels.isa.intrinsics import fma
from dynq_numba.kernels.threads.pool import LINE
from dynq_numba.kernels.threads.tasks import next_task
from dynq_numba.runtime import kernel_table
from dynq_numba.runtime.isa import INSTRUCTION_SETS
from dynq_numba.runtime.memory import aligned_zeros

BY_NAME = {isa.name: isa for isa in INSTRUCTION_SETS}


def dot_kernel(isa):
    """``dot(acc, word, weights)`` on one vector: int32 lanes, one activation word, bytes."""

    @intrinsic
    def emitted(typingctx, acc, word, weights):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)
            total = e.load(isa.accumulator, args[0], 4)
            a = isa.activations(e, *(e.load(I32, e.at(args[1], 4 * part), 4) for part in range(isa.parts)))
            w = isa.weights(e, e.load(isa.packed_weights, args[2], 1))
            e.store(isa.dot(e, total, a, w), args[0], 4)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.voidptr, types.voidptr), codegen

    @kernel(variant=isa.name, cached=False)
    def dot(acc, word, weights):
        emitted(data_ptr(acc), data_ptr(word), data_ptr(weights))
        keep(acc)
        keep(word)
        keep(weights)

    return dot


def activation_words(target, values):
    """The words of one k-word of activations, as the set wants them."""
    if target.parts == 1:
        return np.array(values, np.uint8 if target.k_per_word == 4 else np.int16)
    shifted = np.array(values, np.int16) - target.shift
    return np.concatenate([shifted.astype(np.uint8), np.abs(shifted).astype(np.uint8)])


@pytest.mark.parametrize("form", ["any weights", "per channel"])
def test_dot_is_exact_on_every_corner(isa, form, rng):
    if isa == "portable":
        pytest.skip("portable emits no instruction; its tile is tested through linear")
    target = BY_NAME[isa] if form == "any weights" else BY_NAME[isa].form("linear")
    least = -128 if target is BY_NAME[isa] else -127
    dot = dot_kernel(target)
    corners_a, corners_w = (0, 1, 127, 128, 129, 255), (least, -127, -1, 0, 1, 127)
    for values in itertools.product(corners_a, repeat=target.k_per_word):
        weights = rng.choice(corners_w, (target.lanes, target.k_per_word)).astype(np.int8)
        weights[0], weights[1] = least, 127
        acc = rng.integers(-(2**30), 2**30, target.lanes).astype(np.int32)
        expected = acc + weights.astype(np.int64) @ (np.array(values, np.int64) - target.shift)
        dot(acc, activation_words(target, values), weights.reshape(-1))
        assert (acc == expected).all(), values


@kernel(cached=False)
def fma_all(a, b, c, out):
    for i in range(len(a)):
        out[i] = fma(a[i], b[i], c[i])


def near_ties(rng, n):
    """a·b + c nearer to the middle between two floats than float64 can tell, mostly: rounding twice errs there."""
    j = rng.integers(8, 24, n)
    sign = rng.choice([-1.0, 1.0], n)
    a, b = 1 + 2.0**-j, (1 - 2.0**-j) * sign * 2.0 ** rng.integers(-25, -22, n)
    c = (2**23 + rng.integers(0, 2**23, n)) * 2.0**-23 * rng.choice([-1.0, 1.0], n)
    scale = 2.0 ** rng.integers(-126, 100, n)
    return a.astype(np.float32), (b * scale).astype(np.float32), (c * scale).astype(np.float32)


def test_fma_rounds_once(rng):
    """The instruction, the numpy twin and the oracle, against fractions."""
    a, b, c = near_ties(rng, 20_000)
    wild = rng.integers(0, 2**32, (3, 20_000), dtype=np.uint64).astype(np.uint32).view(np.float32)
    subnormal = np.abs(c) < np.float32(2.0**-120)
    assert subnormal.any()
    with np.errstate(all="ignore"):
        naive = (a.astype(np.float64) * b + c).astype(np.float32)
    for terms in ((a, b, c), tuple(wild)):
        out = np.empty(len(a), np.float32)
        fma_all(*terms, out)
        oracle.assert_same_bits(exactly.fma(*terms), out, "the numpy twin")
        oracle.assert_same_bits(oracle.fma(*terms), out, "the oracle")
        if terms[0] is a:
            assert (naive != out).sum() > 1000, "these are to tell one rounding from two"
    fma_all(a, b, c, out)
    for i in range(500):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        neighbours = [np.nextafter(out[i], np.float32(side)) for side in (-np.inf, np.inf)]
        gaps = [abs(Fraction(float(y)) - exact) for y in neighbours]
        assert abs(Fraction(float(out[i])) - exact) <= min(gaps)


@pytest.mark.parametrize("scheme", (*kernel_table.SCHEMES, *kernel_table.FLOAT_SCALES), ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("target", INSTRUCTION_SETS, ids=lambda isa: isa.name)
def test_panels_hold_every_weight_once(target, scheme, rng):
    bits, group, shifted = scheme.bits, scheme.group, scheme.zero_points
    target = target.form("linear", group, bits)
    for n, k in itertools.product((1, target.columns - 1, target.columns, target.columns + 1), (1, 15, 33, 130)):
        groups = -(-k // group) if group else 1
        zero = rng.integers(0, 16, (n, groups)).astype(np.uint8) if shifted else np.zeros((0, 0), np.uint8)
        low = -zero[:, np.arange(k) // group].astype(int) if shifted else {8: -127, 4: -8}[bits]
        q = rng.integers(low, low + (255 if bits == 8 else 16), (n, k)).astype(np.int8)
        scale = rng.uniform(1, 2, (n, groups)).astype(np.float32)
        scale = (scale if scheme.float_scales else bfloat16(scale)) * np.float32(16 if bits == 4 and not shifted else 1)
        stride = pack.panel_bytes(k, target.columns, bits, group, shifted, target.k_align, scheme.scale_bytes)
        assert stride % 64 == 0
        panels = aligned_zeros(-(-n // target.columns) * stride)
        assert panels.ctypes.data % 64 == 0
        form = (target.columns, target.slab or target.columns, target.k_per_word, bits, group, shifted)
        layout = (*form, scheme.scale_bytes, stride)
        pack.pack_panels(q, scale, zero, *layout, panels)
        back = np.full_like(q, 99), np.zeros_like(scale[:, : groups if group else 0]), np.full_like(zero, 99)
        pack.unpack_panels(panels, *layout, *back)
        assert (back[0] == q).all() and (back[1] == scale[:, : back[1].shape[1]]).all() and (back[2] == zero).all()
        # Nothing else is in the panels: the bytes that hold weights and scales account for all that is not zero.
        empty = aligned_zeros(len(panels))
        pack.pack_panels(np.zeros_like(q), scale, np.zeros_like(zero), *layout, empty)
        inline = int((empty != 0).sum())
        halves = (scale / np.float32(16 if bits == 4 and not shifted else 1)).view(np.uint16)
        halves = halves if scheme.float_scales else halves[:, 1::2]
        assert inline == (int((np.ascontiguousarray(halves).view(np.uint8) != 0).sum()) if group else 0)
        stored = q + zero[:, np.arange(k) // group] if shifted else q
        padding = n * (groups * group - k) if shifted else 0  # nibbles that hold the zero point
        assert (panels != 0).sum() <= int((stored != 0).sum()) + inline + int((zero != 0).sum()) + padding


def bfloat16(values):
    return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def test_tiles_that_overflow_the_registers_are_refused():
    for target in INSTRUCTION_SETS:
        if target.name != "portable":
            with pytest.raises(ValueError, match=target.name):
                Tile(target, Scheme(), Output.DEQUANTIZED, target.registers // VECTORS)


def test_one_body_serves_every_height():
    module = ir.Module()
    names = {Tile(BY_NAME["avx512vnni"], Scheme(), Output.INTEGER, r).function(module).name for r in range(1, 15)}
    assert len(names) == 14


def test_kernel_names_follow_the_grammar():
    names = [kernel.name for kernel in kernel_table.kernels().values()]
    assert len(set(names)) == len(names)
    for name in names:
        assert kernel_table.GRAMMAR.fullmatch(name), name
    assert "qd8_f32_qc8w_gemm_14x32c4__avx512vnni" in names
    assert "qd8_f32_qb4w32z_gemm_4x16c4__portable" in names
    assert "qd8_f32_qc8w_lstm__avx2" in names
    for wrong in ("qc9w", "qb8w32z", "qc4wz"):
        assert not re.fullmatch(kernel_table.GRAMMAR, f"qd8_f32_{wrong}_gemm_14x32c4__avx512vnni")


def test_the_matrix_is_the_registry():
    text = pages.RESULTS.read_text()
    assert pages.filled(text, "matrix", matrix.matrix()) == text, "run: python -m bench matrix --write"


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("tasks", [0, 1, 5, 14])
def test_tasks_are_handed_out_once_own_share_first(threads, tasks):
    counters = np.zeros(LINE * threads, np.int64)
    taker = next_task_of(counters)
    order = []
    for worker in reversed(range(threads)):  # the last worker takes everything, the others come too late
        victim = 0
        while True:
            task, victim = taker(worker, threads, tasks, victim)
            if task < 0:
                break
            order.append(task)
    assert sorted(order) == list(range(tasks))
    own = range((threads - 1) * tasks // threads, tasks)
    assert order[: len(own)] == list(own)


def next_task_of(counters):
    @kernel(cached=False)
    def take(array, worker, threads, tasks, victim):
        found = next_task(data_ptr(array), worker, threads, tasks, victim)
        keep(array)
        return found

    return lambda *args: take(counters, *args)


def test_warmup_tells_its_progress():
    told = []
    assert dq.warmup(progress=told.append) > 0
    assert any("gemm" in line for line in told) and any(line.endswith("] linear") for line in told)
    with pytest.raises(TypeError, match="progress"):
        dq.warmup(progress=3)
