"""What the workers of quantize and dequantize are told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer


class ConversionDescriptor(Descriptor):
    last_cache: int  # bytes


class ConversionContext(Context):
    rows: int
    k: int
    x: Pointer  # what is read: floats to quantize, bytes to dequantize
    x_stride: int
    out: Pointer
    out_stride: int
    scales: Pointer  # float32 [rows]
    zeros: Pointer  # zero points [rows]: bytes, or int32 where zero_bytes is 4
    zero_bytes: int
    flip: int  # 128 where the top bit of every byte is to be flipped
    symmetric: int
    stream: int  # whether results go past the caches
    parts: int  # of every row
    step: int  # see worker.py
    bounds: Pointer  # the range of each part
