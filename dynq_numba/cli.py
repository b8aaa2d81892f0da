"""The ``dynq`` command, also ``python -m dynq_numba``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

from . import __version__

EXAMPLES = """examples:
  dynq warmup            compile everything for this machine into the cache (in a container's build step)
  dynq warmup --quiet    the same, without the list
  dynq warmup --jobs 4   in four processes at the same time
  dynq info              what this machine is, and whether its kernels are compiled
  dynq info --kernels    the name of every kernel, too
  dynq inspect FILE      what a .safetensors file holds
"""


def _warmup(args: argparse.Namespace) -> int:
    from .kernels.base.jit import cache_directory
    from .warmup import warmup

    progress = None if args.quiet else lambda name: print(f"  {name}", flush=True)
    seconds = warmup(progress=progress, jobs=args.jobs)
    print(f"ready in {seconds:.1f} s; kernels are kept in {cache_directory() or 'memory only: no writable place'}")
    return 0


def _info(args: argparse.Namespace) -> int:
    import llvmlite
    import numba
    import numpy

    from . import available_isas, current_isa
    from .kernels.base.jit import JIT_ENABLED, cache_directory
    from .runtime import cpu, kernel_table, threads
    from .runtime.isa import refused_isas

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
        return 0
    print(f"threads          {threads.get_num_threads()}")
    kernels = [kernel for kernel in kernel_table.kernels().values() if kernel.isa.name == current_isa()]
    kept = sum(map(kernel_table.is_kept, kernels))
    state = "warm" if kept == len(kernels) else "cold: `dynq warmup` compiles them" if not kept else "partly warm"
    print(f"kernel cache     {cache_directory() or 'none: no writable place'}")
    print(f"kernels          {kept} of {len(kernels)} are kept there ({state})")
    for kernel in kernels if args.kernels else ():
        print(f"  {kernel.operation:15} {kernel.name}")
    return 0


def _bytes(count: int) -> str:
    return f"{count / 2**20:g} MiB" if count >= 2**20 else f"{count / 2**10:g} KiB"


def _inspect(args: argparse.Namespace) -> int:
    from .inspection import inspect

    for i, path in enumerate(args.files):
        print(f"{chr(10) if i else ''}{inspect(path)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="dynq",
        description="Dynamic quantization for CPUs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dynq-numba {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    warm = commands.add_parser("warmup", help="compile every kernel in advance, into the disk cache")
    warm.add_argument("--quiet", action="store_true", help="print one line only")
    warm.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that compile at the same time")
    warm.set_defaults(run=_warmup)
    info = commands.add_parser("info", help="the machine, the instruction set, whether kernels are compiled")
    info.add_argument("--kernels", action="store_true", help="name every kernel of the instruction set")
    info.set_defaults(run=_info)
    look = commands.add_parser("inspect", help="what a .safetensors file holds: names, kinds, shapes, schemes, bytes")
    look.add_argument("files", nargs="+", metavar="FILE", help="written by dq.save, or any other .safetensors file")
    look.set_defaults(run=_inspect)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        return args.run(args)
    except (OSError, ValueError) as error:  # such as a file that is not there, or an impossible DYNQ_ISA
        print(f"dynq: {error}", file=sys.stderr)
        return 2
