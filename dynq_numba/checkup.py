"""A look at this machine and installation, in a second or two: what runs, how fast, what is wrong and what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from .arguments.extras import EXTRAS, pip_line
from .kernels.base.jit import JIT_ENABLED, cache_directory
from .names import linear, pack_linear
from .runtime import isa, kernel_table, quota, threads

#: Rows, K, N of the layer that is timed; bytes that are copied by each thread, several times the caches of most cores.
LAYER, COPIED = (256, 1024, 1024), 64 << 20
#: Seconds of a measurement.
SECONDS = 0.2
#: Rows, K, N of the layer that each set is checked with, and the largest error that 8 bits may have there.
CHECKED, ERROR = (33, 300, 70), 0.03


def sets() -> list[dict[str, str]]:
    """Each instruction set: "name", "state" and "why". Those whose kernel is compiled compute a layer."""
    rng = np.random.default_rng(0)
    rows, k, n = CHECKED
    x, weight = rng.standard_normal((rows, k), np.float32), rng.standard_normal((n, k), np.float32)
    want = x.astype(np.float64) @ weight.astype(np.float64).T
    refused, found, bits = isa.refused_isas(), [], set()
    for each in isa.INSTRUCTION_SETS:
        state, why = "not on this CPU", ""
        if each.name in refused:
            state, why = "refused", refused[each.name]
        elif each.name in isa.available_isas():
            state = "not compiled"
            if kernel_table.is_kept(kernel_table.kernel_for("linear", each)):
                with isa.force_isa(each.name):
                    got = linear(x, pack_linear(weight))
                bits.add(got.tobytes())
                wrong = np.linalg.norm(got - want) / np.linalg.norm(want)
                state = "right" if wrong < ERROR and len(bits) == 1 else "wrong"
                why = "" if state == "right" else f"its layer is {wrong:.1%} off, or has other bits than the others'"
        found.append({"name": each.name, "state": state, "why": why})
    return found


def _rate(work: float, call: Callable[[], object]) -> float:
    """Work a second, of the fastest call."""
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return work / best


def rates() -> dict[str, float]:
    """Operations a second of an int8 layer and of numpy's float32 product, and bytes a second that threads copy."""
    (rows, k, n), count = LAYER, threads.get_num_threads()
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((rows, k), np.float32), rng.standard_normal((n, k), np.float32)
    packed = pack_linear(weight)
    pairs = [(np.ones(COPIED, np.uint8), np.ones(COPIED, np.uint8)) for _ in range(count)]

    def copy() -> None:
        workers = [Thread(target=np.copyto, args=pair) for pair in pairs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return {
        "int8_layer_ops": _rate(2.0 * rows * k * n, lambda: linear(x, packed)),
        "float32_product_ops": _rate(2.0 * rows * k * n, lambda: x @ weight.T),
        "copy_bytes": _rate(2.0 * COPIED * count, copy),
    }


def extras() -> list[dict[str, Any]]:
    """Each extra: what it adds, what of it is missing, and the line that brings it."""
    return [{"name": name, "adds": each.adds, "missing": each.missing, "pip": pip_line(name)}
            for name, each in EXTRAS.items()]  # fmt: skip


def cores() -> dict[str, Any]:
    """How many there are, how many this process may use, and what of a control group it gets."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = quota.cores()
    return {
        "machine": os.cpu_count(), "affinity": affinity, "quota": allowed if allowed < float("inf") else None,
        "threads": threads.get_num_threads(), "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }  # fmt: skip


def advice(found: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong, and what to do: of what `look` found."""
    said = []
    if not JIT_ENABLED:
        said.append(("NUMBA_DISABLE_JIT is set: all runs in numpy, slowly", "unset NUMBA_DISABLE_JIT"))
    elif found["cache"] is None:
        said.append(("compiled kernels can be kept nowhere", "set NUMBA_CACHE_DIR to a folder that can be written to"))
    elif found["kernels_kept"] < len(found["kernels"]):
        of = len(found["kernels"])
        problem = f"{of - found['kernels_kept']} of {of} kernels are not compiled, so first calls are slow"
        said.append((problem, "dynq warmup"))
    said += [(f"{each['name']}: {each['why']}", "report it with this output") for each in found["self_check"]
             if each["state"] == "wrong"]  # fmt: skip
    if not {"amx", "avx512vnni", "avxvnni"} & set(found["sets"]):
        said.append(("the CPU has no integer dot instruction", "expect half the speed or less of one that has"))
    count = found["core_counts"]
    if count["quota"] is not None and count["threads"] > count["quota"] + 1:
        said.append((f"{count['threads']} threads share {count['quota']:g} cores", "set DYNQ_NUM_THREADS lower"))
    if count["load"] is not None and count["load"] > count["machine"]:
        said.append((f"other programs keep {count['load']:.1f} cores busy", "wait for a quiet machine to measure on"))
    return [{"problem": problem, "do": do} for problem, do in said]


def place() -> str | None:
    """Where compiled kernels are kept, and None where they cannot be."""
    folder = cache_directory()
    return None if folder is None or not os.access(Path(folder).parent, os.W_OK) else str(folder)
