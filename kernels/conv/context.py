"""The words by which a convolution's worker is told all it needs, beside those of base/context.py.

    descriptor   one per packed weight and instruction set (dynq_numba/operators/conv/backend.py)
    context      filled for every call (call.py); it leads to the descriptor
"""

from ..base import context as at

#: A descriptor: what belongs to a packed weight and an instruction set, one int64 each (the worker's own address and
#: the pool's are where a context has them).
(
    QUANTIZE,  # address of the worker of `quantize`
    LAST_CACHE, L2_BYTES,
    WEIGHTS,  # address of the row panels [groups][words of padded K][R], one after another
    ROWS,  # address of [3][outputs]: int32 Σ q, float32 scale, float32 bias
    OUTPUTS, CHANNELS, GROUPS, K_HIGH, K_WIDE, STEP_Y, STEP_X, TOP, BOTTOM, LEFT, RIGHT, DILATE_Y, DILATE_X,
    NR, MR, K_PER_WORD,
    WORDS,  # words of k to multiply
    SLOTS,  # address of the slots of scratch (threads/scratch.py)
) = range(2, 25)  # fmt: skip
DESCRIPTOR_WORDS = 32
#: A convolution's own words of the context. Pixels come in units of PIXELS; LARGEST is of a task.
DESCRIPTOR, SCALES, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, CHUNKS, PARTS, LARGEST = range(at.SIZE, at.SIZE + 9)
CONTEXT_WORDS = at.SIZE + 16
