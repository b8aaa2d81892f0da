"""Arrays between bytes that must not change."""

import numpy as np

#: Bytes of poison around a buffer that is to be written.
MARGIN = 192
PATTERN = 0xA5


def guarded(shape, dtype, shift, gap=0):
    """A buffer of poison, and in it an array whose rows lie `gap` values apart, `shift` bytes off a cache line."""
    dtype = np.dtype(dtype)
    rows, columns = shape
    size = rows * (columns + gap) * dtype.itemsize
    raw = np.full(size + 2 * MARGIN + 64, PATTERN, np.uint8)
    start = MARGIN + (-raw[MARGIN:].ctypes.data) % 64 + shift
    view = raw[start : start + size].view(dtype).reshape(rows, columns + gap)[:, :columns]
    return raw, view


def assert_only_inside(raw, view):
    """No byte of `raw` outside the rows of `view` has changed."""
    outside = np.ones(raw.size, bool)
    start = view.ctypes.data - raw.ctypes.data
    for row in range(view.shape[0]):
        outside[start + row * view.strides[0] :][: view.shape[1] * view.itemsize] = False
    assert (raw[outside] == PATTERN).all(), "written outside the rows"
