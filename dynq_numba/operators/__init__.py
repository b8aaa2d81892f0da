"""The operators: a folder each, with the same file names for the same roles; its ``__init__`` is its row."""

from __future__ import annotations

from ..runtime import kernel_table
from . import attention, chain, conv, embedding, linear, matmul, quantize, recurrent, rowwise
from .base import Operator

#: All operators, in the order of the kernel table and the support matrix.
ALL: tuple[Operator, ...] = tuple(
    folder.OPERATOR
    for folder in (linear, matmul, conv, quantize, attention, embedding, recurrent, rowwise, chain)
)

for _operator in ALL:
    kernel_table.register(*_operator.kernels)
