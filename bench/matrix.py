"""The support matrix, generated from the kernel registry.

    python -m bench.matrix            print it
    python -m bench.matrix --write    put it into bench/RESULTS.md
"""

from __future__ import annotations

import sys

from bench import pages
from dynq_numba.kernels.gemm.intrinsics import max_rows
from dynq_numba.runtime import kernel_table as registry
from dynq_numba.runtime.isa import INSTRUCTION_SETS


def matrix() -> str:
    """A Markdown table: operation and weights down, instruction sets across, the tile (rows×columns) in the cells."""
    names = [isa.name for isa in INSTRUCTION_SETS]
    lines = [f"| operation | weights | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for kernel in registry.kernels().values():
        if operator := registry.OPERATORS.get(kernel.operation):
            weights = operator.weights.format(bits=kernel.scheme.bits)
            rows.setdefault((kernel.operation, weights), {})[kernel.isa.name] = "yes"
            continue
        scheme = kernel.scheme
        weights = f"int{scheme.bits}, " + (f"groups of {scheme.group}" if scheme.group else "per channel, per tensor")
        weights += ", zero points" if scheme.zero_points else ""
        if kernel.operation == "matmul_integer":
            weights = "int8 or uint8, given at run time"
        elif kernel.operation.startswith("matmul"):
            weights = "float32, made int8 per column at run time"
        elif kernel.operation == "conv":
            weights = "int8, per channel"
        elif kernel.operation == "linear_long":
            weights = "per channel, per tensor; K beyond 65,793"
        tile = f"{max_rows(kernel.form, scheme)}×{kernel.form.columns}"
        rows.setdefault((kernel.operation.removesuffix("_long"), weights), {})[kernel.isa.name] = tile
    for (operation, weights), tiles in rows.items():
        cells = " | ".join(tiles.get(name, "") for name in names)
        lines.append(f"| `{operation}` | {weights} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    if "--write" in sys.argv[1:]:
        pages.fill(pages.RESULTS, "matrix", matrix())
    else:
        print(matrix())
    return 0


if __name__ == "__main__":
    sys.exit(main())
