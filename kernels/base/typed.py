"""Values in memory whose type a record says, by its number in TYPES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import load_f32, load_f64, load_i32, load_int, store_f32, store_f64, store_i32, store_int

#: In the order of the functions that `of_types` gives.
TYPES = ("float32", "float64", "int64", "int32")


def of_types(make: Callable[..., Any]) -> tuple[Any, Any, Any, Any]:
    """A function for each of TYPES; make(load, store, kind, name) makes one."""
    return (
        make(load_f32, store_f32, np.float32, "f32"), make(load_f64, store_f64, np.float64, "f64"),
        make(load_int, store_int, np.int64, "i64"), make(load_i32, store_i32, np.int32, "i32"),
    )  # fmt: skip
