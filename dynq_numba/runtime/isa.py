"""Which instruction sets exist, which this machine can run, and which one runs now."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache

from ..kernels.base.jit import JIT_ENABLED
from ..kernels.gemm.self_check import matrix_products_are_exact
from ..kernels.isa.amx import AMX
from ..kernels.isa.avx2 import AVX2
from ..kernels.isa.base import InstructionSet
from ..kernels.isa.portable import PORTABLE
from ..kernels.isa.vnni import AVX512VNNI, AVXVNNI
from ..kernels.objects.cpython import PROCESS, Process
from . import cpu

#: Best first. A new instruction set is a file in kernels/isa and a row here.
INSTRUCTION_SETS: tuple[InstructionSet, ...] = (AMX, AVX512VNNI, AVXVNNI, AVX2, PORTABLE)

_forced: ContextVar[InstructionSet | None] = ContextVar("dynq_isa", default=None)
#: Whether `force_isa` was used in this process. Until then `active` always gives the same set.
ever_forced = False


@cache
def _sets() -> tuple[dict[str, InstructionSet], dict[str, str]]:
    """The sets that this process can run; and for other sets that the CPU has, the reason why not."""
    present = cpu.features()
    usable, refused = {}, {}
    for isa in INSTRUCTION_SETS:
        if isa.usable_with(present):
            if why := isa.unavailable() or _failed_check(isa):
                refused[isa.name] = why
            else:
                usable[isa.name] = isa
    return usable, refused


def _failed_check(isa: InstructionSet) -> str:
    """What is wrong with products of the matrix registers here, also given as a warning; "" if nothing."""
    if not isa.matrix_rows or not JIT_ENABLED or os.environ.get("DYNQ_SELF_CHECK") == "0":
        return ""
    if matrix_products_are_exact(isa):
        return ""
    why = "its products are wrong on this machine"
    warnings.warn(f"instruction set {isa.name} is not used: {why}", RuntimeWarning, stacklevel=2)
    return why


def _usable() -> dict[str, InstructionSet]:
    return _sets()[0]


def refused_isas() -> dict[str, str]:
    """Instruction sets that the CPU has but this process does not run, and why."""
    return dict(_sets()[1])


def available_isas() -> tuple[str, ...]:
    """Names of the instruction sets that this process can run, the best first.

    Returns
    -------
    tuple of str
        Those of "amx", "avx512vnni", "avxvnni", "avx2" and "portable" that numba can compile for here. "amx" only if
        the system also gives the registers to the process.

    Examples
    --------
    >>> "portable" in available_isas()
    True
    """
    return tuple(_usable())


def _lookup(name: str, argument: str) -> InstructionSet:
    try:
        return _usable()[name]
    except (KeyError, TypeError):
        possible, why = ", ".join(available_isas()), _sets()[1].get(name) if isinstance(name, str) else None
        because = f" ({why})" if why else ""
        raise ValueError(
            f"{argument} must be one of {possible} (what this machine can run); got {name!r}{because}"
        ) from None


@cache
def _default() -> InstructionSet:
    wanted = os.environ.get("DYNQ_ISA")
    return _lookup(wanted, "DYNQ_ISA") if wanted else next(iter(_usable().values()))


def active() -> InstructionSet:
    """The instruction set in force: `force_isa`, else DYNQ_ISA, else the best this machine has."""
    return _forced.get() or _default()


def current_isa() -> str:
    """Name of the instruction set in force.

    Returns
    -------
    str
        The one of `force_isa`; else the one of DYNQ_ISA; else the best of `available_isas()`.

    Raises
    ------
    ValueError
        If DYNQ_ISA names a set that this machine cannot run. The message lists those it can run.

    Examples
    --------
    >>> current_isa() in available_isas()
    True
    """
    return active().name


def force_isa(name: str) -> AbstractContextManager[None]:
    """Use one instruction set inside a ``with`` block (in this thread and context only).

    Results have the same bits on every set. This is for tests, comparisons and diagnosis.

    Parameters
    ----------
    name : str
        One of `available_isas()`.

    Returns
    -------
    context manager
        For a ``with`` block; it has no value.

    Raises
    ------
    ValueError
        If this machine, or numba's target, cannot run it. The message lists the sets that can run.

    Examples
    --------
    >>> with force_isa("portable"):
    ...     current_isa()
    'portable'
    """
    return _forcing(_lookup(name, "name"))


@contextmanager
def _forcing(isa: InstructionSet) -> Iterator[None]:
    global ever_forced
    ever_forced = True
    PROCESS[Process.on] = 0
    token = _forced.set(isa)
    try:
        yield
    finally:
        _forced.reset(token)
