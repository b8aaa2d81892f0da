"""Where a recurrent layer, a running sequence and one part of a step keep what they know: words of int64, by name.

    layer     what stays: sizes, and for each direction its weights and the functions of a step  (HEADER, DIRECTION)
    sequence  one call: a context that parallel.run knows, then these words                      (SEQUENCE)
    job       one part of a step: the context of a linear worker, then what a cell needs          (JOB)

Units, gates and columns. A layer of H units (and P values of state; P = H without projection) keeps its gates in
blocks of 16 units, padded with units of weight 0; one row of a product is

    ┌ block 0 ────────────────────────────┬ block 1 ──┬ …
    │ gate 0: 16 units │ gate 1 │ … │ G-1 │           │      G = 4 (i o f c), 3 (z r h), 2 (z r), 1
    └──────────────────┴────────┴───┴─────┴───────────┴

so all that a unit needs lies together, and any range of pairs of blocks (UNITS units) is a range of whole panels of
the packed weight: by such ranges threads share a step.
"""

from __future__ import annotations

from ..base import context as at
from ..threads.pool import LINE

#: Units of a block, a vector of float32; and of the least part of a step: a whole number of panels for every G.
LANES, UNITS = 16, 32

# -- the layer
(
    SEQUENCE_WORKER,  # address of kernels/recurrent/worker.py's worker
    POOL,
    INPUTS,
    HIDDEN,  # H
    STATE,  # P
    DIRECTIONS,
    GATE_COLUMNS,  # G · (H rounded up to LANES)
    PHASES,  # 2 where a step has two products
    HAS_CELLS,  # 1 where there is a cell state (LSTM)
) = range(9)
HEADER = 16
#: A direction's words, of which PRODUCT and CELL come once per phase.
(INPUT, REVERSE, PEEPHOLES, PARAMETERS, PRODUCT, PRODUCT_2, CELL, CELL_2) = range(8)
DIRECTION = 8

# -- the sequence, behind a context's own words
(
    LAYER,  # address of the layer's words
    TIMES,
    BLOCK_STEPS,  # steps whose gates are computed together
    BATCH,
    INPUT_ROWS,  # x: address of float32 [TIMES, BATCH] rows of INPUTS values
    INPUT_STRIDE,
    LENGTHS,  # address of int64 lengths, or 0
    HIDDENS,  # h: float32 [2, directions, BATCH, P rounded up]; a step reads one half and writes the other
    CELLS,  # c: float32 [2, directions, BATCH, H rounded up]
    MIDDLES,  # what the second product multiplies, and a GRU's z: float32 [2, directions, BATCH, H rounded up]
    GATES,  # x·Wᵀ + bias of a block of steps: GATES_BYTES per part of a chain
    GATES_BYTES,
    RESULTS,  # memory for products: RESULT_BYTES per worker
    RESULT_BYTES,
    GATHERED,  # memory for rows of x that do not follow each other: GATHERED_BYTES per worker
    GATHERED_BYTES,
    Y,  # float32 [TIMES, BATCH, directions · P]
    GROUPS,  # chains of a direction, a group of rows each
    SPLITS,  # parts of a step
    SYNC,  # address of lines: whether each worker is there; for each chain the parts done, and the claim of each part
    FAILED,  # 1 when a worker found no memory
) = range(at.SIZE, at.SIZE + 21)
SEQUENCE = at.SIZE + 24

# -- the job: a context with one line of counters, then
(
    KEY,  # which chain and part this was prepared for, or -1
    JOB_CELL,  # address of the cell
    ROWS,
    BLOCKS,  # of this part
    VALUES,  # float32 of y
    JOB_LENGTHS,  # address of the rows' lengths, or 0
    REVERSED,
    TIME,
    JOB_PEEPHOLES,
    JOB_PARAMETERS,
    # where the first row's units lie, and what lies between rows; first at the times of prepare, then now
    GATES_FIRST, JOB_GATES, GATES_STRIDE,
    H_FIRST, OLD, NEW, STATE_STRIDE, H_HALF,
    C_FIRST, C_OLD, C_NEW, UNIT_STRIDE, C_HALF,
    MIDDLE, UPDATE,  # what the second product multiplies; z
    Y_FIRST, JOB_Y, Y_STRIDE, Y_STEP,
    SOURCE, SOURCE_HALF,  # the rows that the product multiplies
) = range(at.SIZE + LINE, at.SIZE + LINE + 31)  # fmt: skip
JOB = at.SIZE + LINE + 32


def padded(count: int) -> int:
    """Rounded up to whole blocks."""
    return -(-count // LANES) * LANES
