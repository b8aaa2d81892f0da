"""The words of a recurrent layer, of a running sequence, and of one part of a step: int64, by name.

    layer     what stays: sizes, and for each direction its weights and cells   (LayerDescriptor, Direction)
    sequence  one call: a context that pool.run knows                                        (SequenceContext)
    job       one part of a step: the context of a linear worker, and what a cell needs         (Job)

Units, gates and columns. A layer of H units (and P values of state; P = H without projection) keeps its gates in
blocks of 16 units, padded with units of weight 0; one row of a product is

    ┌ block 0 ────────────────────────────┬ block 1 ──┬ …
    │ gate 0: 16 units │ gate 1 │ … │ G-1 │           │      G = 4 (i o f c), 3 (z r h), 2 (z r), 1
    └──────────────────┴────────┴───┴─────┴───────────┴

So everything that a unit needs is stored together, and any range of pairs of blocks (UNITS units) is a range of whole
panels of the packed weight. Threads share a step by such ranges.
"""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Pointer, Record, Slot
from ..linear.context import LinearContext

#: Units of a block, a vector of float32; and of the least part of a step: a whole number of panels for every G.
LANES, UNITS = 16, 32


class LayerDescriptor(Record):
    """Directions follow it."""

    sequence_worker: Pointer  # of kernels/recurrent/worker.py
    pool: Pointer
    inputs: int
    hidden: int  # H
    state: int  # P
    directions: int
    gate_columns: int  # G · (H rounded up to LANES)
    phases: int  # 2 where a step has two products
    has_cells: int  # 1 where there is a cell state (LSTM)
    multiplier: Pointer  # of float32 weights (sgemm/context.py); NULL: they are int8


class Direction(Record):
    input: Pointer
    reverse: int
    peepholes: Pointer
    parameters: Pointer
    product: Pointer  # of a step, and its cell
    cell: Pointer
    product_2: Pointer  # of its second phase
    cell_2: Pointer


class SequenceContext(Context):
    """`threads` are the workers that there are homes for."""

    layer: Pointer
    times: int
    block_steps: int  # steps whose gates are computed together
    batch: int
    x: Pointer  # float32 [times, batch] rows of I values
    x_stride: int
    lengths: Pointer  # int64, or NULL
    hiddens: Pointer  # h: float32 [2, directions, batch, P rounded up]; a step reads one half and writes the other
    cells: Pointer  # c: float32 [2, directions, batch, H rounded up]
    middles: Pointer  # what the second product multiplies, and a GRU's z: float32 [2, directions, batch, H rounded up]
    gates: Pointer  # x·Wᵀ + bias of a block of steps: gates_bytes per part of a chain
    gates_bytes: int
    results: Pointer  # memory for products: result_bytes per worker
    result_bytes: int
    gathered: Pointer  # memory for rows of x that do not follow each other: gathered_bytes per worker
    gathered_bytes: int
    y: Pointer  # float32 [times, batch, directions · P]
    groups: int  # chains of a direction, a group of rows each
    splits: int  # parts of a step
    sync: Pointer  # lines: whether each worker is there; for each chain the parts done, and the claim of each part
    failed: Slot  # 1 when a worker found no memory


class Job(LinearContext):
    counter: Slot  # of the one worker that a product has
    key: int  # which chain and part this was prepared for, or -1
    multiplier: Pointer  # of the layer
    cell: Pointer
    rows: int
    blocks: int  # of this part
    values: int  # float32 of y
    lengths: Pointer  # of the rows, or NULL
    reversed: int
    time: int
    peepholes: Pointer
    parameters: Pointer
    # where the first row's units lie, and what lies between rows; first at the times of prepare, then now
    gates_first: Pointer
    gates: Pointer
    gates_stride: int
    h_first: Pointer
    old: Pointer
    new: Pointer
    state_stride: int
    h_half: int
    c_first: Pointer
    c_old: Pointer
    c_new: Pointer
    unit_stride: int
    c_half: int
    middle: Pointer  # what the second product multiplies
    update: Pointer  # z
    y_first: Pointer
    y: Pointer
    y_stride: int
    y_step: int
    source: Pointer  # the rows that the product multiplies
    source_half: int


def padded(count: int) -> int:
    """Rounded up to whole blocks."""
    return -(-count // LANES) * LANES
