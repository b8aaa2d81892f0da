"""The support matrix, generated from the kernel registry.

    python -m bench matrix            print it
    python -m bench matrix --write    put it into bench/RESULTS.md
"""

from __future__ import annotations

from bench.publish import pages
from dynq_numba.operators import ALL
from dynq_numba.runtime import kernel_table
from dynq_numba.runtime.isa import INSTRUCTION_SETS


def matrix() -> str:
    """A Markdown table: operation and weights down, instruction sets across, the tile (rows×columns) in the cells."""
    names = [isa.name for isa in INSTRUCTION_SETS]
    lines = [f"| operation | weights | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    assert ALL  # whose kernels they are
    for kernel in kernel_table.kernels().values():
        weights = kernel.family.weights.format(bits=kernel.scheme.bits)
        cell = kernel.tile("×") if kernel.family.has_tile else "yes"
        tiles = rows.setdefault((kernel.operation.removesuffix("_long"), weights), {})
        tiles.setdefault(kernel.isa.name, cell)  # of two kernels that say the same, the one for an ordinary K
    for (operation, weights), tiles in rows.items():
        cells = " | ".join(tiles.get(name, "") for name in names)
        lines.append(f"| `{operation}` | {weights} | {cells} |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    if "--write" in argv:
        pages.fill(pages.RESULTS, "matrix", matrix())
    else:
        print(matrix())
    return 0
