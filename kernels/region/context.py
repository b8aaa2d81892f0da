"""What a call of a region is told.

    record ┌ worker pool function cost leaves results ┬ size_0 … size_5 ┬ operand 0 ┬ operand 1 ┬ … ┐
           └──────────────────────────────────────────┴─────────────────┴───────────┴───────────┴───┘
             the same in every call                     outermost first   leaves, then results
    operand  address_i, bytes_i, stride_i_0 … stride_i_5

Strides are in bytes, `bytes` those of a value. A stride of 0 repeats a leaf. Axes that are not needed are the
outermost, of size 1. Operands may lie at any address and at any strides. A result may be a leaf with the same strides;
else it overlaps no operand.
"""

from __future__ import annotations

from functools import cache

from ..base.context import Context, Descriptor
from ..base.record import Pointer

AXES = 6
#: The words of an operand.
ADDRESS, BYTES, STRIDES = range(3)
OPERAND_WORDS = STRIDES + AXES


class RegionRecord(Descriptor):
    function: Pointer  # of the region (compiled.py)
    cost: int  # picoseconds a value
    leaves: int
    results: int
    size_0: int
    size_1: int
    size_2: int
    size_3: int
    size_4: int
    size_5: int


#: Bytes from a record to its operands.
OPERANDS = 8 * RegionRecord.size


@cache
def record_of(operands: int) -> type[RegionRecord]:
    """The record of a region with so many leaves and results."""
    kinds: dict[str, str] = {}
    for i in range(operands):
        kinds |= {f"address_{i}": "Pointer", f"bytes_{i}": "int"}
        kinds |= {f"stride_{i}_{axis}": "int" for axis in range(AXES)}
    return type(f"Region{operands}Record", (RegionRecord,), {"__annotations__": kinds, "__module__": __name__})


class PartsContext(Context):
    """A call that is cut into rows and columns; what it is about is in the record."""

    record: Pointer
    rows: int  # all axes but the innermost, as one
    columns: int
    row_tasks: int
    column_tasks: int
