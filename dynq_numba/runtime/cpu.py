"""What this machine is: the features numba compiles for, and the size of its caches."""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: What goes when LLVM is told to do without a feature: every feature whose name starts so builds on it.
_BUILT_ON = {"avx": ("avx",), "avx2": ("avx2", "avx512", "avxvnni"), "avx512f": ("avx512",)}


@cache
def features() -> frozenset[str]:
    """LLVM features of numba's *effective* target (it honours NUMBA_CPU_NAME and NUMBA_CPU_FEATURES).

    Emitting an instruction for a target that lacks it aborts the process. So what counts is the feature string; what
    a CPU's name implies counts only where the name is this machine's own.
    """
    import llvmlite.binding
    from numba.core.registry import cpu_target

    _, name, text = cpu_target.target_context.codegen().magic_tuple()
    present: set[str] = set()
    if name == llvmlite.binding.get_host_cpu_name():
        present = {feature for feature, on in llvmlite.binding.get_host_cpu_features().items() if on}
    words = [word for word in text.split(",") if word]
    present.update(word[1:] for word in words if word[0] == "+")
    for word in words:
        if word[0] == "-":
            gone = (word[1:], *_BUILT_ON.get(word[1:], ()))
            present = {f for f in present if f != gone[0] and not any(f.startswith(p) for p in gone[1:])}
    return frozenset(present)


def _caches() -> dict[int, int]:
    """Bytes of cpu0's data caches by level, as far as the machine says."""
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "type").read_text().strip() != "Instruction":
                sizes[int((index / "level").read_text())] = _bytes((index / "size").read_text())
        except (OSError, ValueError):
            continue
    return sizes


@cache
def l2_bytes() -> int:
    """Bytes of one core's private L2 cache, 1 MiB where the machine does not say."""
    return _caches().get(2, 1 << 20)


@cache
def last_cache_bytes() -> int:
    """Bytes of the last level of cache, 32 MiB where the machine does not say."""
    return max(_caches().values(), default=32 << 20)


def _bytes(text: str) -> int:
    text = text.strip()
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * unit
