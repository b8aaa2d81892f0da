"""The LLVM IR and the assembly of one tile, as numba's target compiles it.

    python -m bench assembly                         the tallest tile of the best instruction set
    python -m bench assembly avx2 6                  a set and a height
    python -m bench assembly avx512vnni 6 4 32       weights of 4 bits in groups of 32
"""

from __future__ import annotations

import sys

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.registry import cpu_target

from dynq_numba.kernels.gemm.tile import Output, Scheme, Tile, max_rows
from dynq_numba.runtime import isa as isas


def listing(name: str, rows: int | None, bits: int, group: int) -> str:
    """IR and assembly of one strip function."""
    isa = {isa.name: isa for isa in isas.INSTRUCTION_SETS}[name].form("linear", group)
    scheme = Scheme(bits, group)
    codegen = cpu_target.target_context.codegen()
    module = ir.Module("tile")
    module.triple = codegen.magic_tuple()[0]
    tile = Tile(isa, scheme, Output.GROUPED if group else Output.DEQUANTIZED, rows or max_rows(isa, scheme))
    tile.function(module).linkage = "external"  # a private function without callers would be dropped
    _, cpu, features = codegen.magic_tuple()
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu=cpu, features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    return f"{module}\n{machine.emit_assembly(parsed)}"


def main(argv: list[str]) -> int:
    """Print what the arguments name."""
    words = argv
    if words[:1] in (["-h"], ["--help"]) or len(words) > 4:
        print(__doc__)
        return 0
    name = words[0] if words else isas.current_isa()
    if name not in isas.available_isas() or name == "portable":
        print(f"no emitted tile of {name!r} here; there are: {', '.join(isas.available_isas()[:-1])}", file=sys.stderr)
        return 2
    rows, bits, group = ([int(word) for word in words[1:]] + [0, 8, 0][len(words[1:]) :])
    print(listing(name, rows or None, bits, group))
    return 0
