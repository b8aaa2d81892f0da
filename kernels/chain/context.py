"""A chain's program, made once for an instruction set by dynq_numba/operators/chain/program.py, never written while it
runs; and what the worker of a call is told.

    ┌ ChainProgram ┬ steps [steps] ───────────────────────────────────┬ values [values] ───────────┐
    │              │ Step, and a context without addresses of values   │ Value; arrays of the call  │
    └──────────────┴ followers (linears of the same x) stand behind it ┴ come first ────────────────┘
"""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Pointer, Record
from ..linear.context import LinearContext
from ..rowwise.context import MapContext, NormContext

#: The number of a value that there is none.
NONE = -1


class ChainProgram(Record):
    steps: int  # with followers
    values: int
    arrays: int  # values that are arrays of the call
    most: int  # contexts of the step with the most
    row_bytes: int  # of scratch
    block: int  # rows; 0: never in blocks
    least: int  # the fewest rows that are worth a block
    row_ns: int  # nanoseconds of one thread
    pool: Pointer
    slots: Pointer  # of scratch
    worker: Pointer


class Value(Record):
    data: Pointer
    stride: int
    scratch_offset: int  # ≥ 0 for scratch: bytes times the scratch's rows where it begins


class Step(Record):
    """Numbers of values, and what is known of a step."""

    followers: int
    rate: int  # values of a row-wise operation done in a microsecond; 0: a linear
    x: int
    out: int
    second: int  # a linear's residual, or a row-wise operation's second operand; or NONE
    total: int  # of a norm, or NONE


class ChainContext(Context):
    program: Pointer
    values: Pointer  # with the addresses of the call
    rows: int
    row_block: int  # rows of the largest task


#: Bytes of the context of any step, and of a step with its context.
CONTEXT_BYTES = max(LinearContext.lines(), NormContext.lines(), MapContext.lines())
STEP_BYTES = Step.lines() + CONTEXT_BYTES
VALUE_BYTES = 8 * Value.size
