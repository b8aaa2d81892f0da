"""A PackedEmbedding in a file (files/fields.py has the format)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import checks
from ...files.container import Tensor
from ...files.fields import Described, Take, attributes, given, read_shape, steps, within
from ...kernels.embedding.reference import HEAD, row_bytes
from .packed import MAX_ROWS, PackedEmbedding


def describe_embedding(table: PackedEmbedding) -> Described:
    v, d = table.shape
    rows = table._store.rows
    integers = Tensor("U8", (v, row_bytes(d, table.bits) - HEAD), lambda: rows[:, HEAD:])
    about = {"shape": [v, d], "bits": table.bits}
    return about, {"qweight": integers, "scale": given("F32", table.scale), "minimum": given("F32", table.minimum)}


def restore_embedding(about: dict[str, Any], take: Take) -> PackedEmbedding:
    shape, bits = attributes(about, "shape", "bits")
    v, d = read_shape(shape, 2)
    checks.choice("bits", bits, (8, 4))
    if v >= MAX_ROWS:
        raise ValueError(f"shape must have fewer than 2^32 rows; got {v}")
    q = take("qweight", "U8", (v, row_bytes(d, bits) - HEAD))
    scale, minimum = take("scale", "F32", (v,)), take("minimum", "F32", (v,))
    steps(scale, 1)
    if not np.isfinite(minimum).all():
        raise ValueError("minimum must be finite")
    if bits == 4 and d % 2:
        within("the nibble after the last column", q[:, -1] >> 4, 0, 0)

    def fill(rows: np.ndarray) -> None:
        rows[:, :HEAD] = np.stack([scale, minimum], axis=1).view(np.uint8)
        rows[:, HEAD:] = q

    return PackedEmbedding((v, d), bits, fill)
