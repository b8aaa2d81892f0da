"""Post-ops: what is done to a tile of the result while it is in L1.

    out[r, c] = epilogue(activation(out[r, c]) + residual[r, c])        float32, each step one rounding

One small function per combination, called once per strip of tiles through its address: so the products are compiled
once for all post-ops. Activation and residual are emitted. A user's own jitted function is inlined, with them, into a
loop that LLVM vectorises.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import carray, float32

from ..activations.emit import activate_rows
from ..activations.jitted import ACTIVATIONS
from ..base.jit import kernel
from ..base.memory import offset


@kernel
def identity(value):
    return value


def post_ops_of(activation: str | None, epilogue: Callable | None, *, residual: bool) -> Callable:
    """Compile ``post_ops(out, out_stride, residual, residual_stride, rows, columns)``; strides in bytes."""
    variant = f"{activation}:{residual}"
    if epilogue is None:
        activate = activate_rows(activation, residual)

        @kernel(variant=variant)
        def post_ops(out, out_stride, addend, addend_stride, rows, columns):
            activate(out, out_stride, addend, addend_stride, rows, columns)

        return post_ops
    activated = ACTIVATIONS[activation] if activation else identity

    @kernel(variant=variant, cached=False)
    def post_ops_and_epilogue(out, out_stride, addend, addend_stride, rows, columns):
        for r in range(rows):
            y = carray(offset(out, r * out_stride), (columns,), float32)
            if residual:
                z = carray(offset(addend, r * addend_stride), (columns,), float32)
                for c in range(columns):
                    y[c] = float32(epilogue(float32(activated(y[c]) + z[c])))
            else:
                for c in range(columns):
                    y[c] = float32(epilogue(activated(y[c])))

    return post_ops_and_epilogue
