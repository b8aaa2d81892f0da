"""``dynq info``: the machine, and whether its kernels are compiled."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

from ..tables import bold
from .base import Answer, Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernels", action="store_true", help="name every kernel of the instruction set")


def _run(args: argparse.Namespace) -> Answer:
    data = facts()
    libraries = ", ".join(f"{name} {version}" for name, version in data["versions"].items() if name != "dynq-numba")
    sizes = ", ".join(f"{level} {_bytes(size)}" for level, size in data["caches"].items())
    rows = [
        ("dynq-numba", data["versions"]["dynq-numba"]), ("with", libraries), ("CPU", data["cpu"]),
        ("cores", f"{data['cores']} of {data['cores_of_machine']} for this process"),
        ("data caches", sizes or "unknown"),
        ("instruction set", f"{data['set']}   (available: {', '.join(data['sets'])})"),
        *(("left out", f"{name}: {why}") for name, why in data["refused"].items()),
    ]  # fmt: skip
    if data["threads"] is None:
        rows.append(("runs on", "the numpy reference (NUMBA_DISABLE_JIT=1)"))
        return Answer(data, lines(rows))
    kept, of = data["kernels_kept"], len(data["kernels"])
    state = "warm" if kept == of else "cold: `dynq warmup` compiles them" if not kept else "partly warm"
    rows += [
        ("threads", str(data["threads"])), ("kernel cache", data["cache"] or "none: no writable place"),
        ("kernels", f"{kept} of {of} are kept there ({state})"),
    ]  # fmt: skip
    named = [f"  {each['operation']:15} {each['name']}" for each in data["kernels"]]
    return Answer(data, "\n".join([lines(rows), *(named if args.kernels else ())]))


def facts() -> dict[str, Any]:
    """The machine, the versions, and what is compiled: plain data."""
    import llvmlite
    import numba
    import numpy

    from .. import __version__, available_isas, current_isa
    from ..kernels.base.jit import JIT_ENABLED, cache_directory
    from ..runtime import cpu, kernel_table, threads
    from ..runtime.isa import refused_isas

    found = [kernel for kernel in kernel_table.kernels().values() if kernel.isa.name == current_isa()]
    found = [kernel for kernel in found if kernel.family.warmed] if JIT_ENABLED else []
    place = cache_directory()
    return {
        "versions": {"dynq-numba": __version__} | {lib.__name__: lib.__version__ for lib in (numba, llvmlite, numpy)}
        | {"Python": platform.python_version()},
        "cpu": cpu.model_name(), "cores": threads.default_threads(), "cores_of_machine": os.cpu_count(),
        "caches": {f"L{level}": size for level, size in cpu.cache_sizes().items()},
        "set": current_isa(), "sets": list(available_isas()), "refused": refused_isas(),
        "threads": threads.get_num_threads() if JIT_ENABLED else None, "cache": place and str(place),
        "kernels": [{"operation": each.operation, "name": each.name} for each in found],
        "kernels_kept": sum(map(kernel_table.is_kept, found)),
    }  # fmt: skip


def lines(rows: list[tuple[str, str]]) -> str:
    """A name and what it is, a line each; bold names on a terminal."""
    return "\n".join(f"{bold(f'{name:16}')} {value}" for name, value in rows)


def _bytes(count: int) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"


INFO = Command(
    "info", "the machine, the instruction set, whether kernels are compiled",
    (
        ("dynq info", "the machine, and what is compiled"),
        ("dynq info --kernels", "the name of every kernel, too"),
    ),
    _arguments, _run,
)  # fmt: skip
