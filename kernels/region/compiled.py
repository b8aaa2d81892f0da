"""Machine code of regions: from memory, from disk, or compiled by LLVM in some milliseconds, without numba.

    region ──▶ IR (emit.py) ──▶ LLVM ──▶ object code ──▶ linked, an address
                                           └──▶ disk      by base/cache.py's rules: who may write, and a digest

One region has one object file for each target. An instruction set of 512 bits, of 256 bits, and `portable` are targets:
this CPU with what it has, without its wider registers, and what every CPU has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite.ir import Module
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from ..base import cache as disk
from ..base import sources
from ..base.handlers import handlers_held
from ..isa.base import InstructionSet
from .check import fault
from .emit import region_function
from .emit_post_ops import post_ops_function
from .reference import OPERATORS, Region

#: Writes functions into a module, the first under a name.
Emit = Callable[[Module, str], object]
#: Addresses by what the code is, as text, and its target; and what keeps it alive.
_FUNCTIONS: dict[tuple[str, str, str], tuple[int, ...]] = {}
_LIBRARIES: list[Any] = []
#: Features of registers wider than 256 bits.
_WIDE = ("avx512", "avx10", "amx", "evex512")
_WIDE_LANES = 16


def target_of(isa: InstructionSet) -> tuple[str, str]:
    """LLVM's names of a CPU and of its features."""
    codegen = cpu_target.target_context.codegen()
    cpu, features = codegen._get_host_cpu_name(), codegen._tm_features
    if isa.lanes >= _WIDE_LANES:
        return cpu, features
    if isa.emitted or not llvm.get_process_triple().startswith("x86_64"):
        narrow = [f"-{f[1:]}" if f[1:].startswith(_WIDE) else f for f in features.split(",") if f]
        return cpu, ",".join(narrow)
    return "x86-64", ""


def _machine(cpu: str, features: str) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=cpu, features=features, opt=2, reloc="pic", codemodel="default")


@cache
def _linker() -> llvm.LLJIT:
    return llvm.create_lljit_compiler(_machine("", ""))


def _object_code(module: Module, target: tuple[str, str]) -> bytes:
    machine = _machine(*target)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_object(parsed)


def _linked(names: Sequence[str], code: bytes) -> tuple[int, ...]:
    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        library.export_symbol(name)
    _LIBRARIES.append(library.link(_linker(), f"library_{len(_LIBRARIES)}"))
    return tuple(_LIBRARIES[-1][name] for name in names)


def functions(what: str, emit: Emit, isa: InstructionSet, *more: str) -> tuple[int, ...]:
    """Addresses of the functions of a module; they live as long as the process.

    `emit` writes them into the module, the first under the name that it is given; the others are named by that and what
    `more` has. `what` tells this module from every other.
    """
    found = (what, *target_of(isa))
    addresses = _FUNCTIONS.get(found)
    if addresses is None:
        with handlers_held(), global_compiler_lock:
            addresses = _FUNCTIONS.get(found) or _loaded(emit, found, more)
            _FUNCTIONS[found] = addresses
    return addresses


def _loaded(emit: Emit, found: tuple[str, str, str], more: tuple[str, ...]) -> tuple[int, ...]:
    key = repr((found, sources.digest(sources.modules_of(emit, _loaded)), disk.VERSIONS)).encode()
    name = f"region_{hashlib.sha256(key).hexdigest()[:24]}"
    file, names = f"dynq-{name}.o", [name, *(name + end for end in more)]
    code = next(disk.kept(file, key), None)
    if code is None:
        module = Module(name)
        module.triple = llvm.get_process_triple()
        emit(module, name)
        code = _object_code(module, found[1:])
        disk.keep(file, key, code)
    return _linked(names, code)


def function(region: Region, isa: InstructionSet) -> int:
    """The address of a region's code for a record's `function`; it lives as long as the process.

    Raises
    ------
    ValueError
        If the region is none: an operator that has no kernel, operands of other types than it takes, …
    """
    if why := fault(region):
        raise ValueError(f"no region: {why}")
    return functions(f"region {region!r}", partial(region_function, region), isa)[0]


def post_ops(region: Region, isa: InstructionSet) -> int:
    """The address of a region of one float32 leaf and result as post-ops; it lives as long as the process."""
    return functions(f"post-ops {region!r}", partial(post_ops_function, region), isa)[0]


def cost(region: Region) -> int:
    """Picoseconds a value, about, for a record's `cost`."""
    moved = sum(np.dtype(kind).itemsize for kind in region.operands)
    return 10 * moved + sum(OPERATORS[name].cost for name, _, _ in region.operations)
