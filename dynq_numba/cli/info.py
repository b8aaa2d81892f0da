"""``dynq info``: the machine, and whether its kernels are compiled."""

from __future__ import annotations

import argparse
import os
import platform

from .base import Command


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernels", action="store_true", help="name every kernel of the instruction set")


def _run(args: argparse.Namespace) -> None:
    import llvmlite
    import numba
    import numpy

    from .. import __version__, available_isas, current_isa
    from ..kernels.base.jit import JIT_ENABLED, cache_directory
    from ..runtime import cpu, kernel_table, threads
    from ..runtime.isa import refused_isas

    libraries = ", ".join(f"{lib.__name__} {lib.__version__}" for lib in (numba, llvmlite, numpy))
    sizes = ", ".join(f"L{level} {_bytes(size)}" for level, size in cpu.cache_sizes().items())
    print(f"dynq-numba       {__version__}   ({libraries}, Python {platform.python_version()})")
    print(f"CPU              {cpu.model_name()}")
    print(f"cores            {threads.default_threads()} of {os.cpu_count()} for this process")
    print(f"data caches      {sizes or 'unknown'}")
    print(f"instruction set  {current_isa()}   (available: {', '.join(available_isas())})")
    for name, why in refused_isas().items():
        print(f"left out         {name}: {why}")
    if not JIT_ENABLED:
        print("runs on          the numpy reference (NUMBA_DISABLE_JIT=1)")
        return
    print(f"threads          {threads.get_num_threads()}")
    kernels = [kernel for kernel in kernel_table.kernels().values() if kernel.isa.name == current_isa()]
    kernels = [kernel for kernel in kernels if kernel.family.warmed]
    kept = sum(map(kernel_table.is_kept, kernels))
    state = "warm" if kept == len(kernels) else "cold: `dynq warmup` compiles them" if not kept else "partly warm"
    print(f"kernel cache     {cache_directory() or 'none: no writable place'}")
    print(f"kernels          {kept} of {len(kernels)} are kept there ({state})")
    for kernel in kernels if args.kernels else ():
        print(f"  {kernel.operation:15} {kernel.name}")


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
