"""Intel's matrix registers: what the instruction means, products of all sizes, and what the system does around them."""

import dataclasses
import re
import struct

import llvmlite.binding as llvm
import numpy as np
import oracle
import problems
import pytest
from children import child
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

import dynq_numba as dq
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, keep
from dynq_numba.kernels.gemm import matrix_tile, self_check
from dynq_numba.kernels.isa.amx import AMX, CONFIGURATION
from dynq_numba.kernels.isa.base import ROW_BYTES, ROWS
from dynq_numba.kernels.isa.emitter import Emitter
from dynq_numba.kernels.isa.vnni import AVX512VNNI
from dynq_numba.kernels.linear import row_panels

here = pytest.mark.usefixtures("registers")


@pytest.fixture
def registers():
    """Skip where there are none."""
    if "amx" not in dq.available_isas():
        pytest.skip("no matrix registers to use here")


# ------------------------------------------------------------------------------------------------ by the specification


def tdpbusd(sums, a, b):
    """Intel's pseudocode in numpy: int32 [16, 16], uint8 [16, 64], int8 [16 words of k, 16 columns · 4]."""
    weights = b.reshape(ROWS, ROWS, 4).astype(np.int64)  # [k, n, j]
    products = np.einsum("mkj,knj->mn", a.reshape(ROWS, ROWS, 4).astype(np.int64), weights)
    return (sums + products).astype(np.int32)  # wraps


@intrinsic
def multiply_once(typingctx, sums, a, b):
    def codegen(context, builder, signature, args):
        e = Emitter(builder)
        AMX.configure(e)
        AMX.load(e, 0, args[0], ROW_BYTES)
        AMX.load(e, 4, args[1], ROW_BYTES)
        AMX.load(e, 6, args[2], ROW_BYTES, stream=True)
        AMX.multiply(e, 0, 4, 6)
        AMX.store(e, 0, args[0], ROW_BYTES)
        AMX.release(e)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.voidptr, types.voidptr), codegen


@kernel(cached=False)
def multiply(sums, a, b):
    multiply_once(data_ptr(sums), data_ptr(a), data_ptr(b))
    keep(sums)
    keep(a)
    keep(b)


@here
def test_the_instruction_is_exact_and_wraps(rng):
    corners = (np.array([0, 1, 127, 128, 255], np.uint8), np.array([-128, -127, -1, 0, 1, 127], np.int8))
    for which in range(6):
        a, b = (rng.choice(values, (ROWS, ROW_BYTES)) for values in corners)
        if which == 0:
            a[:], b[:] = 255, -128
        elif which == 1:
            a[:], b[:] = 255, 127
        sums = rng.integers(-(2**31), 2**31, (ROWS, ROWS)).astype(np.int32)
        want = tdpbusd(sums.astype(np.int64), a, b)
        multiply(sums, a, b)
        assert (sums == want).all()


def strip_assembly():
    """The assembly of the strip for a CPU that has all it needs, whatever this one is."""
    module = ir.Module()
    module.triple = "x86_64-unknown-linux-gnu"
    matrix_tile.MatrixTile(AMX).function(module).linkage = "external"
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(module.triple)
    machine = target.create_target_machine(cpu="sapphirerapids", opt=3)
    parsed = llvm.parse_assembly(str(module))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(parsed, builder)
    return machine.emit_assembly(parsed)


def test_the_assembly_is_what_was_meant():
    text = strip_assembly()
    # two tiles of rows, or one; activations from the first cache, or past it
    assert len(re.findall(r"\ttdpbusd\t", text)) == 2 * (4 + 2)
    assert len(re.findall(r"\ttileloaddt1\t", text)) == 2 * (2 + 2) + (2 + 1)
    assert len(re.findall(r"\ttileloadd\t", text)) == 2 + 1
    for step in re.findall(r"\ttileload(?:.*\n)+?.*\ttdpbusd.*\n(?:\ttdpbusd.*\n)*", text):
        assert not re.search(r"zmm\d+, .*\(%rsp\)|\(%rsp\), %zmm", step), "no vector is spilled between the products"


def test_configuration_is_the_palette_with_eight_full_registers():
    palette, start, *numbers = struct.unpack("<BB14x16H16B", CONFIGURATION)
    assert (palette, start) == (1, 0)
    assert numbers == [64] * 8 + [0] * 8 + [16] * 8 + [0] * 8


# ------------------------------------------------------------------------------------------------ products


def wrong_sizes(rng, k, ns, ms):
    x, weight, bias = problems.normal_problem(rng, max(ms), k, max(ns))
    expected = oracle.linear(x, oracle.pack(weight, bias))
    wrong = []
    for n in ns:
        w = dq.pack_linear(weight[:n], bias[:n], granularity="per_channel")
        for m in ms:
            out = np.full((m + 2, n + 3), np.float32(7))
            dq.linear(x[-m:], w, out=out[:m, :n], threads=1)
            if not oracle.same_bits(out[:m, :n], expected[-m:, :n]) or (out[m:] != 7).any() or (out[:, n:] != 7).any():
                wrong.append((m, k, n))
    return wrong


@pytest.fixture
def matrix(registers):
    """On the set that has them."""
    with dq.force_isa("amx"):
        yield


@pytest.mark.parametrize("k", [128, 129, 191, 192, 193, 255, 256, 1000])
def test_every_height_and_edge(matrix, rng, k):
    ms = (5, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96, 97)
    assert wrong_sizes(rng, k, (190, 191, 192, 193, 207, 208, 223, 224, 225, 300), ms) == []


@pytest.mark.parametrize("k", [1152, 1153, 1216, 2304, 2305, 4100])
def test_activations_that_stay_in_the_first_cache_and_that_do_not(matrix, rng, k):
    assert wrong_sizes(rng, k, (40, 64, 65), (5, 16, 17, 32, 40)) == []


@here
def test_sizes_on_both_sides_of_the_crossover(rng):
    """Whether a product goes through the registers changes no bit: neighbours in M, K and N of every threshold."""
    on_matrix = row_panels.row_panels(AMX, row_panels.Scheme()).on_matrix
    sizes = [(m, k, n) for k in (127, 128, 129) for m in (2, 3, 4, 5, 6, 11, 12) for n in (60, 125, 250, 3200)]
    taken = {on_matrix(*(size[0], size[2], size[1])) for size in sizes}
    assert taken == {True, False}
    for m, k, n in sizes:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        with dq.force_isa("amx"):
            mine = dq.linear(x, dq.pack_linear(weight, bias))
        with dq.force_isa("avx512vnni"):
            oracle.assert_same_bits(mine, dq.linear(x, dq.pack_linear(weight, bias)), f"{m},{k},{n}")


def test_corner_values_to_the_last_exact_k(matrix, rng):
    for k in (128, 4096, 65_793):
        x, weight = problems.corner_problem(rng, k)
        w, expected = dq.pack_linear(weight, granularity="per_channel"), oracle.pack(weight)
        assert len(x) >= 5 and row_panels.row_panels(AMX, row_panels.Scheme()).on_matrix(len(x), len(weight), 65_793)
        exact = oracle.accumulator(x, expected)
        assert np.abs(exact).max() == 255 * 127 * k
        oracle.assert_same_bits(dq.linear(x, w), exact.astype(np.float32), f"K = {k}")


def test_special_rows(matrix, rng):
    """NaN, infinities, denormals, zeros and huge values, each in a row of its own among others."""
    x, weight, bias = problems.normal_problem(rng, 40, 300, 200)
    x[3, 7], x[9, 0], x[17] = np.nan, np.inf, 0
    x[20], x[21, :], x[33] = x[20] * np.float32(1e-42), np.float32(3e38), x[33] * np.float32(1e30)
    with np.errstate(all="ignore"):
        expected = oracle.linear(x, oracle.pack(weight, bias))
    oracle.assert_same_bits(dq.linear(x, dq.pack_linear(weight, bias)), expected, "special rows")


def test_what_goes_with_a_linear(matrix, rng):
    """Activations, residuals, outliers, several weights of one x, per-tensor scales, two run-time operands, threads."""
    x, weight, bias = problems.normal_problem(rng, 70, 260, 330)
    residual, other = rng.standard_normal((70, 330), np.float32), rng.standard_normal((90, 260), np.float32)

    def everything():
        w = dq.pack_linear(weight, bias)
        yield dq.linear(x, w, activation="gelu", residual=residual, threads=2)
        yield dq.linear(x, dq.pack_linear(weight, bias, outliers=(3, 99)), threads=2)
        yield dq.linear(x, dq.pack_linear(weight, granularity="per_tensor", x_granularity="per_tensor"))
        yield from dq.linear_many(x, [w, dq.pack_linear(other)], threads=2)
        yield dq.quantized_matmul(x, np.ascontiguousarray(weight.T), threads=2)
        for count in (1, 2, 3):
            yield dq.linear(x, w, threads=count)

    mine = list(everything())
    with dq.force_isa("portable"):
        for number, (a, b) in enumerate(zip(mine, everything(), strict=True)):
            oracle.assert_same_bits(a, b, f"result {number}")


def test_weights_come_back_and_short_products_are_vectors(matrix, rng):
    weight = rng.standard_normal((77, 201), np.float32)
    w = dq.pack_linear(weight, granularity="per_channel")
    assert (w.qweight == oracle.pack(weight).q).all()
    assert AMX.form("linear") is AMX and AMX.form("linear", group=32) is AVX512VNNI
    assert AMX.form("linear", bits=4) is AMX.form("conv") is AMX.form("linear_long") is AVX512VNNI


# ------------------------------------------------------------------------------------------------ the system around


def run(what, **environment):
    done = child("amx.py", what, **environment)
    assert done.returncode == 0, f"{what}: exit status {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


@here
@pytest.mark.parametrize("what", ["in_many_threads", "helpers_first", "forks", "signals"])
def test_threads_forks_and_signals(what):
    run(what)


@here
def test_a_refusal_of_the_system_is_survived_and_said():
    assert "amx: Linux refuses the tile registers" in run("refused")


@here
def test_a_set_whose_products_are_wrong_is_dropped_with_a_warning():
    run("wrong_products")
    run("unchecked", DYNQ_SELF_CHECK="0")


@here
def test_the_check_sees_a_wrong_product():
    class Wrong(type(AMX)):
        def multiply(self, e, sums, a, b):  # the second product of each step is left out
            if sums != 1:
                super().multiply(e, sums, a, b)

    wrong = Wrong(**{f.name: getattr(AMX, f.name) for f in dataclasses.fields(AMX)} | {"name": "amxwrong"})
    assert self_check.matrix_products_are_exact(AMX)
    assert not self_check.matrix_products_are_exact(wrong)
