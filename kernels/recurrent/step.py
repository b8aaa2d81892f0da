"""Recurrent layers as steps of a program (kernels/program/run.py)."""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import is_null, load_i32, null, store_int
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE, NO_MEMORY
from .call import sequence_at


class SequenceStep(Record):
    """A layer over a sequence: see `sequence_into`."""

    x: Pointer  # float32 [times · batch, I], rows x_stride bytes apart
    x_stride: int
    times: int
    batch: int
    lengths: Pointer  # int32 [batch], or NULL
    wide_lengths: Pointer  # int64 [batch] to write in
    h0: Pointer  # or NULL
    c0: Pointer  # or NULL
    y: Pointer  # [times, batch, directions · P]
    hn: Pointer
    cn: Pointer
    layer: Pointer  # its descriptor


@kernel
def sequence_step(record, threads):
    s = SequenceStep(record)
    lengths = null()
    if not is_null(s.lengths):
        lengths = s.wide_lengths
        for i in range(s.batch):
            length = np.int64(load_i32(s.lengths, i))
            if length < 0 or length > s.times:
                return BAD_INDEX
            store_int(lengths, i, length)
    fine = sequence_at(s.x, s.x_stride, s.times, s.batch, lengths, s.h0, s.c0, s.y, s.hn, s.cn, s.layer, threads)
    return FINE if fine else NO_MEMORY
