"""Boxes that overlap no better one of their class: NonMaxSuppression of ONNX. A step, on the calling thread.

    of each image and class, boxes whose score is above the threshold, best first, of equal ones the first:
    a box is taken if its overlap with each that has been taken is at most `most_overlap`, until `most` are taken

    overlap     intersection / union of two boxes, float32; 0 where a box, or the intersection, has no area
    heap        pairs (key, index) of a class, the best on top (reduce/topk.py); only what is looked at is sorted
    out         [taken, 3]: image, class, box; `count` says how many rows

A box is two opposite corners (y, x, y, x), or centre and size (x, y, width, height).
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import allocate, is_null, load_f32, load_int, offset, release, store_int
from ..base.record import Pointer, Record
from ..base.status import FINE, NO_MEMORY
from ..reduce.topk import FLOAT, key_of, sink


class Suppression(Record):
    boxes: Pointer  # float32 [images, count_of_boxes, 4]
    scores: Pointer  # float32 [images, classes, count_of_boxes]
    most: Pointer  # int64, or null: none
    most_overlap: Pointer  # float32, or null: 0
    threshold: Pointer  # float32, or null: no threshold
    out: Pointer  # int64 [images · classes · count_of_boxes, 3]
    count: Pointer  # int64
    images: int
    classes: int
    count_of_boxes: int
    centered: int


@kernel
def edges(box, first, second, centered):
    """From where to where a box lies along an axis."""
    a, b = load_f32(box, first), load_f32(box, second)
    if centered:
        half = b / np.float32(2)
        return a - half, a + half
    return min(a, b), max(a, b)


@kernel
def overlaps(one, other, centered, most):
    """Whether the intersection of two boxes is more than so much of their union."""
    left, right = edges(one, 0, 2, centered)
    other_left, other_right = edges(other, 0, 2, centered)
    wide = min(right, other_right) - max(left, other_left)
    top, bottom = edges(one, 1, 3, centered)
    other_top, other_bottom = edges(other, 1, 3, centered)
    high = min(bottom, other_bottom) - max(top, other_top)
    if not (wide > 0 and high > 0):
        return False
    shared = wide * high
    area, other_area = (right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top)
    union = area + other_area - shared
    if not (shared > 0 and area > 0 and other_area > 0 and union > 0):
        return False
    return shared / union > most


@kernel
def best_first(scores, n, threshold, limited, heap):
    """Make the heap of the boxes above the threshold; how many there are."""
    count = 0
    for i in range(n):
        if not limited or load_f32(scores, i) > threshold:
            # topk's heaps have on top what comes last: the largest of keys turned round, and of equal ones the first
            store_int(heap, 2 * count, ~key_of(offset(scores, 4 * i), FLOAT, 4, False))
            store_int(heap, 2 * count + 1, -i)
            count += 1
    for i in range(count // 2 - 1, -1, -1):
        sink(heap, count, i, load_int(heap, 2 * i), load_int(heap, 2 * i + 1))
    return count


@kernel
def suppress(record, threads):
    """The step of a `Suppression`."""
    s = Suppression(record)
    n, centered, taken = s.count_of_boxes, s.centered != 0, 0
    most = np.int64(0) if is_null(s.most) else load_int(s.most, 0)
    most_overlap = np.float32(0) if is_null(s.most_overlap) else load_f32(s.most_overlap, 0)
    limited = not is_null(s.threshold)
    threshold = load_f32(s.threshold, 0) if limited else np.float32(0)
    store_int(s.count, 0, 0)
    if most <= 0 or n <= 0:
        return FINE
    heap = allocate(16 * n)
    if is_null(heap):
        return NO_MEMORY
    for image in range(s.images):
        boxes = offset(s.boxes, 16 * n * image)
        for which in range(s.classes):
            left = best_first(offset(s.scores, 4 * n * (image * s.classes + which)), n, threshold, limited, heap)
            first = taken
            while left > 0 and taken - first < most:
                index, fine = -load_int(heap, 1), True
                box = offset(boxes, 16 * index)
                for i in range(first, taken):
                    if overlaps(box, offset(boxes, 16 * load_int(s.out, 3 * i + 2)), centered, most_overlap):
                        fine = False
                        break
                if fine:
                    store_int(s.out, 3 * taken, image)
                    store_int(s.out, 3 * taken + 1, which)
                    store_int(s.out, 3 * taken + 2, index)
                    taken += 1
                left -= 1
                sink(heap, left, 0, load_int(heap, 2 * left), load_int(heap, 2 * left + 1))
    store_int(s.count, 0, taken)
    release(heap)
    return FINE
