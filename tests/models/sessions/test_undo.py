"""Planning's dictionaries return to what they were at any mark; oracle: copies of them."""

import numpy as np
import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from dynq_numba.planning.sizes import Sizes
from dynq_numba.planning.tensor import Storage, Tensor
from dynq_numba.planning.undo import Tensors, Values

SIZES = Sizes()
STORAGES = [Storage(SIZES.variable(0), 4) for _ in range(3)]
TENSORS = [Tensor(np.dtype(np.float32), (), storage) for storage in (*STORAGES, *STORAGES, None)]
VALUES = [ir.Value(name=f"v{i}") for i in range(4)]
CHANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, len(TENSORS) - 1)), max_size=8)


def views(values: dict, storage: Storage) -> set:
    return {value for value, tensor in values.items() if tensor.storage is storage}


@given(st.lists(st.tuples(CHANGES, st.booleans()), max_size=8))
def test_what_was_set_since_a_mark_is_taken_back(rounds):
    values, keys, expected = Values(), Tensors(), {}
    for changes, gives_up in rounds:
        marks, before = (values.mark(), keys.mark()), dict(expected)
        for i, j in changes:
            values[VALUES[i]] = keys[VALUES[i]] = expected[VALUES[i]] = TENSORS[j]
        if gives_up:
            values.return_to(marks[0])
            keys.return_to(marks[1])
            expected = before
        assert dict(values) == dict(keys) == expected
        assert list(values) == list(expected)
        for storage in STORAGES:
            assert set(values.lying_in(storage)) == views(expected, storage)
            assert len(values.lying_in(storage)) == len(views(expected, storage))
