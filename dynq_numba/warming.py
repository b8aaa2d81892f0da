"""Compile everything in advance, for container images and servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from .arguments import checks
from .kernels.base.jit import JIT_ENABLED, cache_directory
from .operators import ALL
from .runtime import isa, kernel_table
from .runtime.compiling import silently


def _steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """What there is to compile, by name."""
    target = isa.active()
    for kernel in kernel_table.kernels().values():
        if kernel.isa is target and kernel.family.warmed:
            yield kernel.name, partial(kernel_table.worker_address, kernel.operation, kernel.isa, kernel.scheme)
    for operator in ALL:
        if operator.warm is not None:
            yield from operator.warm()


def _share(claims: str) -> None:
    """The steps that no other process has claimed yet, by a file in the folder `claims`."""
    with silently():
        for i, (_, build) in enumerate(_steps()):
            try:
                Path(claims, str(i)).touch(exist_ok=False)
            except FileExistsError:
                continue
            build()


def _in_processes(jobs: int) -> None:
    """Share the steps between processes, which leave what they compile in the disk cache."""
    package = Path(__file__).parent
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DYNQ_ISA": isa.active().name}
    code = f"import sys; from {__name__} import _share; _share(sys.argv[1])"
    with TemporaryDirectory() as claims:
        command = [sys.executable, "-c", code, claims]
        children = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(jobs)]
        said = [child.communicate()[1] for child in children]
    for child, errors in zip(children, said, strict=True):
        if child.returncode:
            raise RuntimeError(f"a process of warmup(jobs={jobs}) failed:\n{errors.decode(errors='replace')}")


def warmup(*, progress: Callable[[str], object] | None = None, jobs: int = 1) -> float:
    """Compile every kernel of the instruction set in force and its entries, or load them from the disk cache.

    Not included: a user's own epilogues and jitted functions, linear layers with x_bits=16 and K above 65,793, and
    recurrent layers with activations other than the default, or with a clip, peepholes, coupled gates or a projection.
    Layers are compiled when they are packed or first called.

    Parameters
    ----------
    progress : callable, optional
        Called with the name of each step before the step starts, such as ``print``.
    jobs : int, default 1
        How many processes compile at the same time, if there is a disk cache. This process then loads from it.

    Returns
    -------
    float
        Seconds it took (0 with NUMBA_DISABLE_JIT=1, where there is nothing to do).

    Raises
    ------
    TypeError, ValueError
        If progress is not callable, or jobs is not a positive integer.
    RuntimeError
        If one of the processes failed. Has its output.

    Examples
    --------
    >>> warmup() > 0
    True
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None; got {progress!r}")
    jobs = checks.integer("jobs", jobs, "a positive integer")
    if jobs < 1:
        raise ValueError(f"jobs must be a positive integer; got {jobs}")
    start = time.perf_counter()
    if not JIT_ENABLED:
        return 0.0
    if jobs > 1 and cache_directory():
        _in_processes(jobs)
    with silently():
        steps = list(_steps())
        for i, (name, build) in enumerate(steps, 1):
            if progress is not None:
                progress(f"[{i}/{len(steps)}] {name}")
            build()
    return time.perf_counter() - start
