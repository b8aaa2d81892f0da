"""Values of images at places between pixels: GridSample of ONNX. A step, on the calling thread.

    out[n, c, p] = Σ over z of wz · (Σ over y of wy · (Σ over x of wx · x[n, c, z, y, x]))       p: a point of the grid

A point has a place on each axis, from -1 to 1. As pixels that is ((g + 1)·n - 1) / 2, or (g + 1) / 2·(n - 1) where
corners are aligned. On each axis it reads 1 pixel (nearest, ties to even), 2 (linear) or 4 (cubic, Keys with -3/4).

    padding ZEROS        pixels outside are 0
            BORDER       the nearest pixel stands for them
            REFLECTION   the image goes on as in a mirror: at the corners' middles where they are aligned, else at edges

With cubic weights that is so for each pixel; otherwise for the place itself, first: as in PyTorch and ONNX Runtime.

Each sum is one chain in ascending order, each product is rounded, so bits depend on nothing else. Places that are NaN,
or farther than FAR pixels, lie outside with ZEROS, else at the first pixel. Images without depth have one plane.

Scratch, of a block of points:   place [points][3 axes][taps] int64, -1 outside   weight [points][3 axes][taps] float32
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import allocate, is_null, load_f32, load_int, offset, release, store_f32, store_int
from ..base.record import Pointer, Record
from ..base.status import FINE, NO_MEMORY

ZEROS, BORDER, REFLECTION = range(3)
#: Pixels on each axis, by mode.
TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
PADDING = {"zeros": ZEROS, "border": BORDER, "reflection": REFLECTION}
FAR = 1 << 30
#: Points whose places are computed at a time, for all channels.
BLOCK = 64
_A = np.float32(-0.75)


class GridSample(Record):
    x: Pointer  # [images, channels, depth, height, width]
    grid: Pointer  # [images, points, axes]: along the width first
    out: Pointer  # [images, channels, points]
    images: int
    channels: int
    depth: int
    height: int
    width: int
    points: int
    axes: int  # 2, or 3 with depth
    taps: int
    padding: int
    align: int


@kernel
def whole(value):
    """The largest integer that is not above."""
    found = np.int64(value)
    return found - 1 if np.float32(found) > value else found


@kernel
def mirrored(value, low, high):
    """A place within low … high; float64."""
    length = high - low
    if length <= 0:
        return low
    beyond = low - value if value < low else value - high
    if beyond <= 0:
        return value
    times = np.int64(beyond / length)
    rest = beyond - times * length
    return low + rest if (value < low) == (times % 2 == 0) else high - rest


@kernel
def within(index, size, padding, low, high):
    """The pixel that stands for one at an index, or -1."""
    if index >= 0 and index < size:
        return index
    if padding == ZEROS:
        return np.int64(-1)
    if padding == REFLECTION:
        index = np.int64(mirrored(np.float64(index), low, high))
    return min(max(index, 0), size - 1)


@kernel
def cubic(t, i):
    """The weight of pixel i, 0 … 3, of those around a place that is t behind the second."""
    one = np.float32(1)
    if i == 0:
        u = t + one
        return ((_A * u - np.float32(5) * _A) * u + np.float32(8) * _A) * u - np.float32(4) * _A
    if i == 3:
        u = np.float32(2) - t
        return ((_A * u - np.float32(5) * _A) * u + np.float32(8) * _A) * u - np.float32(4) * _A
    u = t if i == 1 else one - t
    return ((_A + np.float32(2)) * u - (_A + np.float32(3))) * u * u + one


@kernel
def place(g, size, taps, padding, align, places, weights):
    """The pixels of an axis and their weights."""
    one, n = np.float32(1), np.float32(size)
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    x = (g + one) / np.float32(2) * (n - one) if align else ((g + one) * n - one) / np.float32(2)
    if taps == 1 and abs(x) <= FAR:
        first = whole(x)
        rest = x - np.float32(first)
        half = np.float32(0.5)
        x = np.float32(first + 1 if rest > half or (rest == half and first % 2 != 0) else first)
    if not (abs(x) <= FAR):
        x = np.float32(-FAR if padding == ZEROS else 0)
    if taps != 4 and (x < np.float32(low) or x > np.float32(high)):
        if padding == BORDER:
            x = min(max(x, np.float32(0)), n - one)
        elif padding == REFLECTION:
            x = np.float32(mirrored(np.float64(x), low, high))
    first = whole(x)
    t = x - np.float32(first)
    for i in range(taps):
        index, weight = first + i, one
        if taps == 2:
            weight = one - t if i == 0 else t
        elif taps == 4:
            index, weight = index - 1, cubic(t, i)
        store_int(places, i, within(index, size, padding, low, high))
        store_f32(weights, i, weight)


@kernel
def pixel(plane, x, row):
    return load_f32(plane, row + x) if x >= 0 and row >= 0 else np.float32(0)


@kernel
def linear(plane, places, weights, width):
    """The value of a plane between 2 × 2 pixels: what `sums` gives, faster."""
    zero, left, right = np.float32(0), load_int(places, 0), load_int(places, 1)
    above, below = load_int(places, 2) * width, load_int(places, 3) * width
    a, b = load_f32(weights, 0), load_f32(weights, 1)
    upper = (zero + a * pixel(plane, left, above)) + b * pixel(plane, right, above)
    lower = (zero + a * pixel(plane, left, below)) + b * pixel(plane, right, below)
    return (zero + load_f32(weights, 2) * upper) + load_f32(weights, 3) * lower


@kernel
def sums(plane, places, weights, taps, deep, area, width):
    """The sums over z, y and x."""
    total = np.float32(0)
    for k in range(deep):
        z, middle = load_int(places, 2 * taps + k), np.float32(0)
        for j in range(taps):
            y, inner = load_int(places, taps + j), np.float32(0)
            row = z * area + y * width if y >= 0 and z >= 0 else np.int64(-1)
            for i in range(taps):
                inner += load_f32(weights, i) * pixel(plane, load_int(places, i), row)
            middle += load_f32(weights, taps + j) * inner
        total += load_f32(weights, 2 * taps + k) * middle
    return total


@kernel
def sample(record, threads):
    """The step of a `GridSample`."""
    s = GridSample(record)
    taps, points, area = s.taps, s.points, s.height * s.width
    size = s.depth * area
    deep = taps if s.axes == 3 else 1
    scratch = allocate(BLOCK * 3 * taps * 12)
    if is_null(scratch):
        return NO_MEMORY
    all_weights = offset(scratch, BLOCK * 3 * taps * 8)
    for image in range(s.images):
        for first in range(0, points, BLOCK):
            count = min(BLOCK, points - first)
            for p in range(count):
                g = offset(s.grid, 4 * s.axes * (image * points + first + p))
                for axis in range(3):
                    where = (3 * p + axis) * taps
                    places, weights = offset(scratch, where * 8), offset(all_weights, where * 4)
                    if axis < s.axes:
                        length = s.width if axis == 0 else s.height if axis == 1 else s.depth
                        place(load_f32(g, axis), length, taps, s.padding, s.align, places, weights)
                    else:
                        store_int(places, 0, 0)
                        store_f32(weights, 0, np.float32(1))
            for channel in range(s.channels):
                plane = offset(s.x, 4 * (image * s.channels + channel) * size)
                out = offset(s.out, 4 * ((image * s.channels + channel) * points + first))
                for p in range(count):
                    places, weights = offset(scratch, 3 * p * taps * 8), offset(all_weights, 3 * p * taps * 4)
                    if taps == 2 and deep == 1:
                        value = linear(plane, places, weights, s.width)
                    else:
                        value = sums(plane, places, weights, taps, deep, area, s.width)
                    store_f32(out, p, value)
    release(scratch)
    return FINE
