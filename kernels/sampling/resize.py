"""Images of another size: Resize of ONNX. A step, on the calling thread.

    out[p, i, j] = Σ over y of wy · (Σ over x of wx · x[p, y, x])

Pixel j of the result lies at a place between pixels of x (`where`, float64), and reads 1 of them (nearest), 2 (linear)
or 4 (cubic); the pixels at the edges stand for those outside. Weights are float32. Each sum is one chain in ascending
order, each product is rounded, so bits depend on nothing else.

    tables   for each row, and each column of the result:   place [taps] int64   weight [taps] float32
    lines    [taps][columns of the result]: rows of x, resized: each once, for all rows of the result that want it
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import allocate, is_null, load_f32, load_int, offset, release, store_f32, store_int
from ..base.record import Float, Pointer, Record
from ..base.status import FINE, NO_MEMORY

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
HALF_PIXEL, PYTORCH, SYMMETRIC, ALIGN, ASYMMETRIC = range(5)
HOW = {
    "half_pixel": HALF_PIXEL, "pytorch_half_pixel": PYTORCH, "half_pixel_symmetric": SYMMETRIC, "align_corners": ALIGN,
    "asymmetric": ASYMMETRIC,
}  # fmt: skip
PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL = range(4)
ROUNDING = {"round_prefer_floor": PREFER_FLOOR, "round_prefer_ceil": PREFER_CEIL, "floor": FLOOR, "ceil": CEIL}


class Resize(Record):
    x: Pointer  # [planes, height, width]
    out: Pointer  # [planes, out_height, out_width]
    planes: int
    height: int
    width: int
    out_height: int
    out_width: int
    scale_y: Float  # 0: that of the lengths
    scale_x: Float
    how: int
    taps: int
    rounding: int  # of places, to nearest pixels
    cubic: Float  # Keys' coefficient
    exclude: int  # whether pixels outside have no weight


@kernel
def where(o, size, out_size, scale, how):
    """The place of pixel o of the result, in pixels."""
    length = scale * size
    if how == ALIGN:
        return 0.0 if length == 1 else o * (size - 1.0) / (length - 1.0)
    if how == ASYMMETRIC:
        return o / scale
    if how == PYTORCH and length == 1:
        return 0.0
    place = (o + 0.5) / scale
    if how == SYMMETRIC:  # in ONNX's order: a place that is a little below a pixel has another floor
        place = size / 2.0 * (1.0 - out_size / length) + place
    return place - 0.5


@kernel
def keys(t, i, a):
    """The weight of pixel i, 0 … 3, of those around a place that is t behind the second."""
    if i == 1 or i == 2:
        u = t if i == 1 else 1.0 - t
        return ((a + 2.0) * u - (a + 3.0)) * u * u + 1.0
    u = t + 1.0 if i == 0 else 2.0 - t
    return ((a * u - 5.0 * a) * u + 8.0 * a) * u - 4.0 * a


@kernel
def fill(size, out_size, given, r, places, weights):
    """The table of an axis."""
    taps, how, a = r.taps, r.how, np.float64(r.cubic)
    scale = np.float64(given) if given != 0 else np.float64(out_size) / np.float64(size)
    for o in range(out_size):
        place = where(np.float64(o), np.float64(size), np.float64(out_size), scale, how)
        first = np.int64(place)
        first -= 1 if first > place else 0
        t = place - first
        total = 0.0
        for i in range(taps):
            index, weight = first + i, 1.0
            if taps == 1:
                up = r.rounding == CEIL and t > 0
                up = up or (r.rounding == PREFER_FLOOR and t > 0.5) or (r.rounding == PREFER_CEIL and t >= 0.5)
                index = first + 1 if up else first
            elif taps == 2:
                weight = t if i == 1 else 1.0 - t
            else:
                index, weight = first + i - 1, keys(t, i, a)
            if r.exclude != 0 and (index < 0 or index >= size):
                weight = 0.0
            total += weight
            store_int(places, o * taps + i, min(max(index, 0), size - 1))
            store_f32(weights, o * taps + i, np.float32(weight))
        if r.exclude != 0 and taps > 1:
            for i in range(taps):
                index = first + i - (1 if taps == 4 else 0)
                weight = 1.0 - t if taps == 2 and i == 0 else t if taps == 2 else keys(t, i, a)
                inside = index >= 0 and index < size
                store_f32(weights, o * taps + i, np.float32(weight / total if inside else 0.0))


@kernel
def line(row, places, weights, taps, count, out):
    """A row of x, resized."""
    if taps == 1:
        for j in range(count):
            store_f32(out, j, load_f32(row, load_int(places, j)))
        return
    if taps == 2:
        for j in range(count):
            total = np.float32(0) + load_f32(weights, 2 * j) * load_f32(row, load_int(places, 2 * j))
            store_f32(out, j, total + load_f32(weights, 2 * j + 1) * load_f32(row, load_int(places, 2 * j + 1)))
        return
    for j in range(count):
        total = np.float32(0)
        for i in range(taps):
            total += load_f32(weights, j * taps + i) * load_f32(row, load_int(places, j * taps + i))
        store_f32(out, j, total)


@kernel
def add(source, weight, first, count, out):
    """out += weight · source, or the first term of it."""
    if first:
        for j in range(count):
            store_f32(out, j, np.float32(0) + weight * load_f32(source, j))
        return
    for j in range(count):
        store_f32(out, j, load_f32(out, j) + weight * load_f32(source, j))


@kernel
def resize(record, threads):
    """The step of a `Resize`."""
    r = Resize(record)
    taps, height, width, out_height, out_width = r.taps, r.height, r.width, r.out_height, r.out_width
    if out_height <= 0 or out_width <= 0 or r.planes <= 0:
        return FINE
    entries = taps * (out_height + out_width)
    scratch = allocate(8 * entries + 4 * entries + 4 * taps * out_width + 8 * taps)
    if is_null(scratch):
        return NO_MEMORY
    rows, columns, held = scratch, offset(scratch, 8 * taps * out_height), offset(scratch, 8 * entries)
    row_weights = offset(held, 8 * taps)
    column_weights = offset(row_weights, 4 * taps * out_height)
    lines = offset(column_weights, 4 * taps * out_width)
    fill(height, out_height, r.scale_y, r, rows, row_weights)
    fill(width, out_width, r.scale_x, r, columns, column_weights)
    for plane in range(r.planes):
        x, out = offset(r.x, 4 * plane * height * width), offset(r.out, 4 * plane * out_height * out_width)
        for i in range(taps):
            store_int(held, i, -1)
        for o in range(out_height):
            to = offset(out, 4 * o * out_width)
            for i in range(taps):
                y = load_int(rows, o * taps + i)
                target = to if taps == 1 else offset(lines, 4 * (y % taps) * out_width)
                if taps == 1 or load_int(held, y % taps) != y:
                    line(offset(x, 4 * y * width), columns, column_weights, taps, out_width, target)
                    store_int(held, y % taps, y)
            if taps == 1:
                continue
            for i in range(taps):
                y, weight = load_int(rows, o * taps + i), load_f32(row_weights, o * taps + i)
                add(offset(lines, 4 * (y % taps) * out_width), weight, i == 0, out_width, to)
    release(scratch)
    return FINE
