"""Choosing an instruction set: force_isa, DYNQ_ISA, and targets that numba is told to assume.

Run as a script, this file prints a fingerprint of results on the instruction set that the process chose.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys

import llvmlite.binding
import numpy as np
import pytest

import dynq_numba as dq
from dynq_numba.runtime.isa import INSTRUCTION_SETS

ISAS = tuple(isa.name for isa in INSTRUCTION_SETS)
SCHEMES = [
    {"granularity": "per_channel"},
    {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    {"granularity": "per_group", "group_size": 32},
    {"granularity": "per_channel", "bits": 4},
    {"granularity": "per_group", "group_size": 32, "bits": 4},
    {"granularity": "per_group", "group_size": 64, "bits": 4, "symmetric": False},
]
TIMEOUT = 300  # seconds until a child counts as hung; its first run on a machine compiles everything
on_x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason=f"x86 targets do not apply to {platform.machine()}"
)


def linear_results(m, k, n, schemes):
    """What linear and the packed weights give on one problem."""
    x, weight, bias = (np.random.default_rng(k).standard_normal(shape, np.float32) for shape in ((m, k), (n, k), n))
    for scheme in schemes:
        w = dq.pack_linear(weight, bias, **scheme)
        yield from (w.qweight, w.dequantize(), dq.linear(x, w), dq.linear(x, w, activation="gelu", threads=1))


def integer_results(m, k, n):
    """What quantize, dequantize and matmul_integer give on one problem."""
    x, weight = (np.random.default_rng(k).standard_normal(shape, np.float32) for shape in ((m, k), (n, k)))
    q, w = dq.quantize(x), dq.quantize(weight, dtype="int8", symmetric=True)
    yield from (q.data, q.scale, q.zero_point, dq.dequantize(q))
    yield dq.matmul_integer(q.data, w.data.T, q.zero_point)
    yield dq.matmul_integer(w.data, q.data.T, 3, q.zero_point)


def digest(results):
    """The sha256 of all arrays."""
    sha = hashlib.sha256()
    for result in results:
        sha.update(np.ascontiguousarray(result).tobytes())
    return sha.hexdigest()


def fingerprint():
    """The sha256 of every kernel's results on fixed inputs."""
    sizes = [(1, 131, 70), (15, 131, 70), (40, 64, 129)]
    return digest([r for size in sizes for r in (*linear_results(*size, SCHEMES), *integer_results(*size))])


def brief_fingerprint(*chosen):
    """The sha256 of linear alone, on one size, with the schemes of these indices."""
    return digest(linear_results(15, 131, 70, [SCHEMES[i] for i in chosen]))


def child(code=None, schemes=(), **environment):
    """Run `code`, or this file (on these schemes alone), in a new process with these variables in its environment."""
    dropped = ("DYNQ_ISA", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    command = [sys.executable, *(("-c", code) if code else (__file__, *map(str, schemes)))]
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def report(*schemes, **environment):
    """The available sets, the chosen one and the fingerprint of a child process, which must end well."""
    done = child(schemes=schemes, **environment)
    assert done.returncode == 0, f"{environment}: exit status {done.returncode}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------------ in this process


def test_available_sets_are_known_ones_best_first():
    available = dq.available_isas()
    assert isinstance(available, tuple) and available == tuple(name for name in ISAS if name in available)
    assert "portable" in available and dq.current_isa() in available


def test_force_isa_holds_inside_the_block_only():
    before = dq.current_isa()
    for name in dq.available_isas():
        with dq.force_isa(name):
            assert dq.current_isa() == name
            with dq.force_isa("portable"):
                assert dq.current_isa() == "portable"
            assert dq.current_isa() == name
        assert dq.current_isa() == before
    with pytest.raises(KeyError), dq.force_isa("portable"):
        raise KeyError
    assert dq.current_isa() == before


@pytest.mark.parametrize("name", ["avx", "AVX2", "", "neon", None, 3])
def test_unknown_names_list_the_possible_ones(name):
    before = dq.current_isa()
    with pytest.raises((ValueError, TypeError)) as caught, dq.force_isa(name):
        pass
    assert all(possible in str(caught.value) for possible in dq.available_isas()) and str(name) in str(caught.value)
    assert dq.current_isa() == before


def test_sets_that_this_machine_lacks_are_refused():
    missing = [name for name in ISAS if name not in dq.available_isas()]
    if not missing:
        pytest.skip("this machine runs every instruction set")
    for name in missing:
        with pytest.raises(ValueError, match="portable"), dq.force_isa(name):
            pass


def test_every_set_has_one_fingerprint(isa):
    mine = fingerprint()
    with dq.force_isa("portable"):
        assert mine == fingerprint()


def test_warmup_changes_no_result():
    before = fingerprint(), dq.current_isa()
    dq.warmup()
    assert (fingerprint(), dq.current_isa()) == before


# ------------------------------------------------------------------------------------------------ in new processes


def test_environment_chooses_the_set(isa):
    assert report(DYNQ_ISA=isa) == {"available": list(dq.available_isas()), "isa": isa, "sha256": fingerprint()}


@pytest.mark.parametrize("name", ["avx", "mmx"])
def test_environment_with_an_unknown_name(name):
    done = child("import dynq_numba as dq; print(dq.current_isa())", DYNQ_ISA=name)
    assert done.returncode == 1, "an exception, neither success nor an abort"
    last = done.stderr.splitlines()[-1]
    assert "ValueError" in last and "DYNQ_ISA" in last and name in last
    assert all(possible in last for possible in dq.available_isas())


def without(*families):
    """This machine's features as numba passes them by default, those that start with one of `families` switched off."""
    flags = llvmlite.binding.get_host_cpu_features().flatten().split(",")
    return ",".join("-" + flag[1:] if flag[1:].startswith(families) else flag for flag in flags)


# Without AVX-512 the 256-bit dot needs a feature of its own, which a Zen 4 for one lacks.
WITHOUT_512 = {"avx2", "portable"} | ({"avxvnni"} if llvmlite.binding.get_host_cpu_features().get("avxvnni") else set())
# CPUs that have it, by LLVM's names. A virtual machine may have it, too, and be called otherwise: then LLVM lacks it.
WITH_AVXVNNI = {
    "alderlake", "arrowlake", "arrowlake-s", "clearwaterforest", "diamondrapids", "emeraldrapids", "gracemont",
    "grandridge", "graniterapids", "graniterapids-d", "lunarlake", "meteorlake", "pantherlake", "raptorlake",
    "sapphirerapids", "sierraforest", "znver5",
}  # fmt: skip
NAMED = WITHOUT_512 if llvmlite.binding.get_host_cpu_name() in WITH_AVXVNNI else {"avx2", "portable"}
# What each assumed target may use; names absent from this machine's own list are left out below.
TARGETS = {
    "generic": ({"NUMBA_CPU_NAME": "generic"}, {"portable"}),
    # numba names the older CPU to LLVM and still switches this machine's features on.
    "haswell": ({"NUMBA_CPU_NAME": "haswell"}, set(ISAS)),
    "generic with AVX2": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx2"}, {"avx2", "portable"}),
    "no AVX-512": ({"NUMBA_CPU_FEATURES": without("avx512")}, WITHOUT_512),
    "no VNNI": ({"NUMBA_CPU_FEATURES": without("avx512vnni", "avxvnni")}, {"avx2", "portable"}),
    # Nothing else named: LLVM derives the rest from the CPU's name, and drops what builds on avx512f.
    "only minus AVX-512": ({"NUMBA_CPU_FEATURES": "-avx512f"}, NAMED),
    "named, only minus AVX-512": (
        {"NUMBA_CPU_NAME": "alderlake", "NUMBA_CPU_FEATURES": "-avx512f"}, {"avxvnni", "avx2", "portable"},
    ),
    "named, nothing else": ({"NUMBA_CPU_NAME": "cascadelake", "NUMBA_CPU_FEATURES": "+cx16"}, set(ISAS) - {"amx"}),
    "named without AVX2": ({"NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": "+cx16"}, {"portable"}),
}
#: What a machine must have to run code for a target, beside AVX2.
NEEDED = {"named, only minus AVX-512": "avxvnni", "named, nothing else": "avx512vnni"}


@on_x86
@pytest.mark.parametrize("target", TARGETS)
def test_assumed_targets_never_abort_and_give_the_same_bits(target):
    environment, possible = TARGETS[target]
    if target != "generic" and "avx2" not in dq.available_isas():
        pytest.skip("this machine has no AVX2, so it cannot run code for this target")
    if (needed := NEEDED.get(target, "portable")) not in dq.available_isas():
        pytest.skip(f"this machine has no {needed}, so it cannot run code for this target")
    told = report(**environment)
    assert told["sha256"] == fingerprint()
    assert set(told["available"]) == possible & set(dq.available_isas())
    assert told["isa"] == told["available"][0]


@on_x86
def test_a_set_that_the_assumed_target_lacks_is_refused():
    done = child("import dynq_numba as dq; dq.current_isa()", NUMBA_CPU_NAME="generic", DYNQ_ISA="avx2")
    assert done.returncode == 1, "an exception, neither success nor an abort"
    assert "ValueError" in done.stderr and "portable" in done.stderr.splitlines()[-1]


def test_a_cache_that_several_processes_filled_confuses_no_kernels(tmp_path):
    """Closures of one factory, compiled first in different processes, may get the same symbol from numba's counter.

    Loaded together, one then runs the other's code: wrong results from a warm cache alone.
    """
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    for chosen in [(0,), (2,), (4,), (0, 2, 4)]:
        assert report(*chosen, **cache)["sha256"] == brief_fingerprint(*chosen), f"schemes {chosen}"


def test_without_a_compiler_the_reference_gives_the_same_bits():
    assert report(NUMBA_DISABLE_JIT="1")["sha256"] == fingerprint()


if __name__ == "__main__":
    sha256 = brief_fingerprint(*map(int, sys.argv[1:])) if sys.argv[1:] else fingerprint()
    print(json.dumps({"available": list(dq.available_isas()), "isa": dq.current_isa(), "sha256": sha256}))
