"""The largest value of every window, and its place: MaxPool with its second result. A step, on the calling thread.

    out[p, oy, ox]    = max over (ky, kx) of x[p, y, x]      y = oy·step_y + ky·dilate_y - top, x in the same way
    places[p, oy, ox] = p·H·W + y·W + x                      of the first of equal ones; by columns: p·H·W + x·H + y
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import load_f32, offset, store_f32, store_int
from ..base.record import Pointer
from ..base.status import FINE
from ..rowwise.reference import MINUS_INF
from .context import Pooling


class PlacedPooling(Pooling):
    places: Pointer  # int64 [planes, out_height, out_width]
    by_columns: int


@kernel
def placed_pooling(record, threads):
    p = PlacedPooling(record)
    height, width = p.height, p.width
    out, places = p.out, p.places
    for plane in range(p.planes):
        x, before = offset(p.x, 4 * plane * height * width), plane * height * width
        for oy in range(p.out_height):
            for ox in range(p.out_width):
                largest, place = MINUS_INF, -1
                for ky in range(p.k_high):
                    row = oy * p.step_y + ky * p.dilate_y - p.top
                    if row < 0 or row >= height:
                        continue
                    for kx in range(p.k_wide):
                        column = ox * p.step_x + kx * p.dilate_x - p.left
                        if column < 0 or column >= width:
                            continue
                        value = load_f32(x, row * width + column)
                        if value > largest or value != value or place < 0:
                            largest = value
                            place = column * height + row if p.by_columns else row * width + column
                store_f32(out, 0, largest)
                store_int(places, 0, before + place)
                out, places = offset(out, 4), offset(places, 8)
    return FINE
