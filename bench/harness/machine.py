"""The stamp of a result: machine, versions, commit, time."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What makes numba compile for an AVX2 machine: with the host's features LLVM would fuse into VNNI instructions.
HASWELL = {
    "DYNQ_ISA": "avx2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe",
}
CPU = Path("/sys/devices/system/cpu/cpu0")


@cache
def cache_sizes() -> dict[str, int]:
    """Bytes of each data cache that cpu0 sees, "L1" to the last; empty where the machine does not say."""
    sizes = {}
    for index in sorted(CPU.glob("cache/index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            level, text = (index / "level").read_text().strip(), (index / "size").read_text().strip()
            sizes[f"L{level}"] = int(text.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}.get(text[-1], 1)
        except (OSError, ValueError):
            continue
    return sizes


def last_level_cache() -> int:
    """Bytes; 32 MiB where the machine does not say."""
    return max(cache_sizes().values(), default=32 << 20)


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        family = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return f"{family['model name']} (family {family['cpu family']}, model {family['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The git commit, marked where files differ from it."""
    command = ("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def stamp(distributions: list[str]) -> dict:
    """Everything that a reader of a result must know about where it comes from."""
    import dynq_numba as dq

    names = ["dynq-numba", "numba", "llvmlite", "numpy", *distributions]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "caches": cache_sizes(),
        "instruction_sets": list(dq.available_isas()),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in dict.fromkeys(names)},
    }
