"""The context: an int64 array by which a caller tells a worker all it needs; its words, by name.

    ┌ descriptor ─────────────────┬ call ───────────────────────────┬ spare ┐┌ counters ─────────────┐
    │ WORKER … PER_TENSOR         │ M … COUNTERS                    │       ││ 1 line of 8 per worker │
    └ of a packed weight, copied ─┴ filled for every call ──────────┴───────┘└ from a line of their own ┘
    0                       DESCRIPTOR_WORDS                               SIZE

Words hold integers, or addresses that are stored and loaded as pointers (see memory.py). Strides are in bytes.
parallel.run reads WORKER, POOL and DONE. The worker of matmul_integer uses the same words and has no descriptor.
"""

(
    # -- the descriptor: one per packed weight and instruction set (dynq_numba/operators/linear/layout.py)
    WORKER,  # address of the worker
    POOL,  # address of the pool (see threads/pool.py); unused with one thread
    N,
    K,
    WORDS,  # k-words to multiply
    WEIGHTS,  # address of the panels
    PANEL_STRIDE,
    COLUMNS,  # address of the epilogue's column words
    NR,  # columns of a panel
    MR,  # rows of the tallest tile
    PANELS,
    STRIP_PANELS,
    PER_TENSOR,  # one scale for all of x
    ROTATION,  # block of the Hadamard matrix that rows of x are multiplied by first, or 0
    OUTLIERS,  # address of the columns that stay float32 (linear/outliers.py), or 0
    # -- the call
    M,
    X,
    X_STRIDE,
    X_FLIP,  # matmul_integer: 128 where the top bit of every byte is to be flipped
    X_ZERO,  # matmul_integer: address of int32 zero points
    OUT,
    OUT_STRIDE,
    RESIDUAL,
    RESIDUAL_STRIDE,
    POST_OPS,  # address of the post-ops, or 0
    FIXED_PARAMETERS,  # address of the scale and zero point of all rows, or 0
    ROW_BLOCK,
    ROW_TASKS,
    COLUMN_TASKS,
    THREADS,
    COUNTERS,  # address of the counters
    DONE,  # tasks finished
    SCRATCH,  # eight bytes for the scale and zero point that FIXED_PARAMETERS may point to
    ALL_PANELS,  # weight panels of this context and of those that follow it
    NEXT,  # address of the context of the next weight for the same rows, or 0
) = range(35)

DESCRIPTOR_WORDS = M
SIZE = 40
