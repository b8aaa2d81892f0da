"""What plans pass through as Python objects: arrays of texts, sequences (lists of arrays), optionals (None, or one)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


def is_object(value: Any) -> bool:
    """Whether no kernel can see it."""
    return not isinstance(value, np.ndarray) or value.dtype.kind in "OUST"


def holds_objects(value: ir.Value) -> bool:
    """Whether a value of a graph is one by its type."""
    return value.dtype == ir.DataType.STRING or isinstance(value.type, (ir.SequenceType, ir.OptionalType))


def copied(value: Any) -> Any:
    """A result that shares no memory with anything else."""
    if isinstance(value, (list, tuple)):
        return [copied(each) for each in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def texts(array: np.ndarray) -> np.ndarray:
    """Texts of a model, which it has as bytes."""
    found = [each.decode() if isinstance(each, bytes) else str(each) for each in array.ravel()]
    return np.array([None, *found], object)[1:].reshape(array.shape)
