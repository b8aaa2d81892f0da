"""``dynq warmup``: compile everything in advance."""

from __future__ import annotations

import argparse

from .base import Command, positive


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print one line only")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes that compile at the same time")


def _run(args: argparse.Namespace) -> None:
    from ..kernels.base.jit import cache_directory
    from ..warming import warmup

    progress = None if args.quiet else lambda name: print(f"  {name}", flush=True)
    seconds = warmup(progress=progress, jobs=args.jobs)
    print(f"ready in {seconds:.1f} s; kernels are kept in {cache_directory() or 'memory only: no writable place'}")


WARMUP = Command(
    "warmup", "compile every kernel ahead, into the disk cache",
    (
        ("dynq warmup", "compile everything for this machine into the cache (in a container's build step)"),
        ("dynq warmup --quiet", "the same, without the list"),
        ("dynq warmup --jobs 4", "in four processes at the same time"),
    ),
    _arguments, _run,
)  # fmt: skip
