"""This machine: the features that numba compiles for, and the sizes of its caches."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

#: What is lost when LLVM is told not to use a feature: all features whose names start like this depend on it.
_BUILT_ON = {"avx": ("avx",), "avx2": ("avx2", "avx512", "avxvnni"), "avx512f": ("avx512",)}
#: What LLVM compiles with AVX2 where the target has it, and with the dot instruction where the target has that.
_PROBE = """
declare i32 @llvm.vector.reduce.add.v32i32(<32 x i32>)
define <8 x i32> @sum(<8 x i32> %a, <8 x i32> %b) {
  %c = add <8 x i32> %a, %b
  ret <8 x i32> %c
}
define i32 @dot(<32 x i8> %a, <32 x i8> %b) {
  %x = zext <32 x i8> %a to <32 x i32>
  %y = sext <32 x i8> %b to <32 x i32>
  %products = mul <32 x i32> %x, %y
  %total = call i32 @llvm.vector.reduce.add.v32i32(<32 x i32> %products)
  ret i32 %total
}
"""


def _implied(name: str, text: str) -> set[str]:
    """Features of a target that this machine has and LLVM uses, even if `text` does not name them."""
    import llvmlite.binding as llvm

    machine = llvm.Target.from_default_triple().create_target_machine(cpu=name, features=text)
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    found = set()
    if re.search(r"vpaddd\s.*ymm", assembly):
        found.add("avx2")
    if "vpdpbusd" in assembly:
        found |= {"avxvnni"} if "{vex}" in assembly else {"avx512f", "avx512bw", "avx512vl", "avx512vnni"}
    return {feature for feature, on in llvm.get_host_cpu_features().items() if on and feature in found}


@cache
def features() -> frozenset[str]:
    """LLVM features of numba's *effective* target (it honours NUMBA_CPU_NAME and NUMBA_CPU_FEATURES).

    Emitting an instruction for a target without it aborts the process. So the feature string counts. By default it
    names everything that the machine has or lacks. If it does not, LLVM is asked what it compiles for the CPU's name.
    (The machine's own features do not count: a virtual machine may have AVX-VNNI but a CPU name for which LLVM does not
    use it.)
    """
    from numba.core.registry import cpu_target

    _, name, text = cpu_target.target_context.codegen().magic_tuple()
    present = set() if "avx2" in text else _implied(name, text)
    words = [word for word in text.split(",") if word]
    present.update(word[1:] for word in words if word[0] == "+")
    for word in words:
        if word[0] == "-":
            gone = (word[1:], *_BUILT_ON.get(word[1:], ()))
            present = {f for f in present if f != gone[0] and not any(f.startswith(p) for p in gone[1:])}
    return frozenset(present)


def _caches() -> dict[int, int]:
    """Bytes of cpu0's data caches by level, as far as the system tells."""
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "type").read_text().strip() != "Instruction":
                sizes[int((index / "level").read_text())] = _bytes((index / "size").read_text())
        except (OSError, ValueError):
            continue
    return sizes


def model_name() -> str:
    """What the CPU calls itself, or "unknown"."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"


def cache_sizes() -> dict[int, int]:
    """Bytes of data caches by level, as far as the system tells."""
    return dict(sorted(_caches().items()))


@cache
def l2_bytes() -> int:
    """Bytes of one core's private L2 cache, 1 MiB if the system does not tell."""
    return _caches().get(2, 1 << 20)


@cache
def last_cache_bytes() -> int:
    """Bytes of the last level of cache, 32 MiB if the system does not tell."""
    return max(_caches().values(), default=32 << 20)


def _bytes(text: str) -> int:
    text = text.strip()
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * unit
