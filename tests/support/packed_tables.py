"""Tables, ids and the twin that the tests of embeddings share."""

from functools import cache

import numpy as np
from remembered import remembered

import dynq_numba as dq
from dynq_numba.kernels.embedding import reference

F32 = np.float32
U = 2.0**-24


def gamma(n):
    """The bound of n successive relative roundings."""
    return n * U / (1 - n * U)


#: Odd, half-vector, whole-vector, one-block and many-block widths.
COLUMNS = [1, 2, 15, 16, 17, 31, 33, 64, 100, 300, 384, 385, 800]
MODES = ["sum", "weighted", "mean", "max"]
#: Bags of no, one and many ids, at the start, in the middle and at the end.
OFFSETS = np.array([0, 0, 1, 4, 4, 30, 37, 60, 60])
N = 60


@cache
def table_of(columns, rows=50):
    rng = np.random.default_rng(columns)
    table = rng.standard_normal((rows, columns)).astype(F32) * F32(3) + rng.standard_normal((rows, 1)).astype(F32)
    table[7] = 2.5  # no range
    table[8] = 0
    table[9] *= F32(1e30)
    return table


@cache
def packed_of(columns, bits):
    return dq.pack_embedding(table_of(columns), bits=bits)


def ids_of(rng, kind=np.int64, count=N):
    ids = rng.integers(0, 50, count).astype(kind)
    ids[: min(2, count)] = (0, 49)[: min(2, count)]
    return ids


def oracle_rows(packed):
    """The table that a packed one stands for, in float64, from its public parts."""
    return packed.qweight.astype(np.float64) * packed.scale[:, None] + packed.minimum[:, None].astype(np.float64)


def magnitudes(packed):
    """What the rounding of a sum is relative to: q · scale + |minimum|."""
    return packed.qweight.astype(np.float64) * packed.scale[:, None] + abs(packed.minimum[:, None].astype(np.float64))


def bag_case(mode, rng, count=N):
    weights = rng.standard_normal(count).astype(F32) if mode == "weighted" else None
    return ("sum" if mode == "weighted" else mode), weights


embedding_bag = remembered(reference.embedding_bag)


def twin(packed, ids, ends, mode, weights):
    rows = packed._store.rows
    return embedding_bag(rows, packed.shape[1], packed.bits, ids, np.asarray(ends), mode, weights)
