"""Machine code of regions: from memory, from disk, or compiled by LLVM in some milliseconds, without numba.

    region ──▶ IR (emit.py) ──▶ LLVM ──▶ object code ──▶ linked, an address
                                           └──▶ disk      by base/cache.py's rules: who may write, and a digest

One region has one object file for each target. An instruction set of 512 bits, of 256 bits, and `portable` are targets:
this CPU with what it has, without its wider registers, and what every CPU has.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from ..base import cache as disk
from ..base import sources
from ..base.handlers import handlers_held
from ..isa.base import InstructionSet
from .check import fault
from .emit import module_of
from .reference import OPERATORS, Region

#: Addresses by region, as text, and target; and what keeps their code alive.
_FUNCTIONS: dict[tuple[str, str, str], int] = {}
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


def _object_code(region: Region, name: str, target: tuple[str, str]) -> bytes:
    machine = _machine(*target)
    module = llvm.parse_assembly(str(module_of(region, name, llvm.get_process_triple())))
    module.verify()
    return machine.emit_object(module)


def _linked(name: str, code: bytes) -> int:
    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(name)
    _LIBRARIES.append(library.link(_linker(), f"{name}_{len(_LIBRARIES)}"))
    return _LIBRARIES[-1][name]


def function(region: Region, isa: InstructionSet) -> int:
    """The address of a region's code for a record's `function`; it lives as long as the process.

    Raises
    ------
    ValueError
        If the region is none: an operator that has no kernel, operands of other types than it takes, …
    """
    found = (repr(region), *target_of(isa))
    address = _FUNCTIONS.get(found)
    if address is None:
        if why := fault(region):
            raise ValueError(f"no region: {why}")
        with handlers_held(), global_compiler_lock:
            address = _FUNCTIONS.get(found) or _loaded(region, found)
            _FUNCTIONS[found] = address
    return address


def _loaded(region: Region, found: tuple[str, str, str]) -> int:
    key = repr((found, sources.digest(sources.modules_of(module_of)), disk._VERSIONS)).encode()
    name = f"region_{hashlib.sha256(key).hexdigest()[:24]}"
    file = f"dynq-{name}.o"
    for folder in disk.places():
        code = disk._read(folder, file, key)
        if code is not None:
            return _linked(name, code)
    code = _object_code(region, name, found[1:])
    any(disk._write(folder, file, key, code) for folder in disk.places())
    return _linked(name, code)


def cost(region: Region) -> int:
    """Picoseconds a value, about, for a record's `cost`."""
    widths = {"float64": 8, "int64": 8, "float32": 4, "int32": 4}
    moved = sum(widths.get(kind, 1) for kind in region.operands)
    return 10 * moved + sum(OPERATORS[name].cost for name, _, _ in region.operations)
