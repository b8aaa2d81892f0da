"""embedding and embedding_bag inside compiled code, and without a compiler."""

import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest
from packed_tables import (
    F32,
    OFFSETS,
    N,
    ids_of,
    packed_of,
    twin,
)

import dynq_numba as dq


# ------------------------------------------------------------------------------------------------------ jitted
@numba.njit
def jitted_rows(ids, packed):
    return dq.embedding(ids, packed)


@numba.njit
def jitted_rows_into(ids, packed, out):
    return dq.embedding(ids, packed, out=out, threads=2)


@numba.njit
def jitted_bags(ids, offsets, packed, weights):
    return (
        dq.embedding_bag(ids, offsets, packed, mode="max"),
        dq.embedding_bag(ids, offsets, packed, weights=weights),
    )


@numba.njit
def jitted_sums(ids, offsets, packed):
    return dq.embedding_bag(ids, offsets, packed), dq.embedding_bag(ids, offsets, packed, "mean", threads=2)


@numba.njit
def jitted_rows_of_ids(ids, packed, weights, ends, out):
    first = dq.embedding_bag(ids, None, packed, weights=weights)
    return first, dq.embedding_bag(ids.reshape(ids.size), ends, packed, include_last_offset=True, out=out)


ENDS = np.append(OFFSETS, N)


def assert_rows_and_bags(packed, ids, weights):
    table, square, out = packed.dequantize(), ids.reshape(6, 10), np.empty((6, 10, 33), F32)
    oracle.assert_same_bits(jitted_rows(ids, packed), table[ids])
    oracle.assert_same_bits(jitted_rows_into(square, packed, out), table[square])
    oracle.assert_same_bits(out, table[square])
    largest, weighted = jitted_bags(ids, OFFSETS, packed, weights)
    oracle.assert_same_bits(largest, twin(packed, ids, ENDS, "max", None))
    oracle.assert_same_bits(weighted, twin(packed, ids, ENDS, "sum", weights))


def test_inside_compiled_code(rng):
    packed, bad = packed_of(33, 8), ids_of(rng)
    assert_rows_and_bags(packed, ids_of(rng), rng.standard_normal(N).astype(F32))
    bad[5] = 50
    with pytest.raises(IndexError) as caught:
        jitted_rows(bad, packed)
    assert caught.value.args[1:] == (5, 50)
    weights = np.ones(N, F32)
    with pytest.raises(IndexError):
        jitted_bags(bad, OFFSETS, packed, weights)
    with pytest.raises(ValueError, match="offsets must begin with 0"):
        jitted_bags(ids_of(rng), OFFSETS[::-1].copy(), packed, weights)


def test_four_bits_inside_compiled_code(rng):
    packed, ids = packed_of(33, 4), ids_of(rng)
    oracle.assert_same_bits(jitted_rows(ids, packed), packed.dequantize()[ids])


@pytest.mark.parametrize("bits,kind", [(8, np.int32), (8, np.int64), (4, np.int32), (4, np.int64)])
def test_every_type_in_compiled_code(rng, bits, kind):
    packed, ids, weights = packed_of(33, bits), ids_of(rng, kind), rng.standard_normal(N).astype(F32)
    assert_rows_and_bags(packed, ids, weights)
    square, out = ids.reshape(6, 10), np.empty((9, 33), F32)
    oracle.assert_same_bits(jitted_rows(square.T, packed), packed.dequantize()[square.T])
    for y, mode in zip(jitted_sums(ids, OFFSETS, packed), ("sum", "mean"), strict=True):
        oracle.assert_same_bits(y, twin(packed, ids, ENDS, mode, None), mode)
    first, second = jitted_rows_of_ids(square, packed, weights.reshape(6, 10).astype(float), ENDS, out)
    oracle.assert_same_bits(first, twin(packed, ids, np.arange(7) * 10, "sum", weights))
    oracle.assert_same_bits(second, twin(packed, ids, ENDS, "sum", None))
    assert np.shares_memory(second, out)


def test_compiled_code_refuses_what_it_cannot_do(rng):
    packed, ids = packed_of(33, 8), ids_of(rng)

    @numba.njit
    def captured(ids):
        return dq.embedding(ids, packed)

    @numba.njit
    def of_floats(x, table):
        return dq.embedding(x, table)

    @numba.njit
    def weighted_mean(ids, table, w):
        return dq.embedding_bag(ids, None, table, "mean", w)

    for function, arguments, message in (
        (captured, (ids,), "PackedEmbedding cannot be a global"),
        (of_floats, (np.ones(3), packed), "ids must be an array of int32 or int64"),
        (of_floats, (ids, ids), "packed must be a PackedEmbedding"),
        (weighted_mean, (ids.reshape(6, 10), packed, np.ones((6, 10))), "weights go with"),
    ):
        with pytest.raises(numba.core.errors.NumbaError, match=message):
            function(*arguments)


SUM = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(3)
digest = hashlib.sha256()
for columns in (5, 64, 385):
    for bits in (8, 4):
        table = dq.pack_embedding(rng.standard_normal((40, columns)).astype(np.float32), bits=bits)
        ids, offsets = rng.integers(0, 40, 50), np.array([0, 3, 3, 20])
        weights = rng.standard_normal(50).astype(np.float32)
        digest.update(dq.embedding(ids, table).tobytes())
        for mode, w in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
            digest.update(dq.embedding_bag(ids, offsets, table, mode, w).tobytes())
for call in (lambda: dq.embedding(np.array([[1, 40]]), table), lambda: dq.embedding_bag(ids, offsets[::-1], table)):
    try:
        call()
    except (IndexError, ValueError) as error:
        digest.update(str(error).encode())
print(digest.hexdigest())
"""


def test_without_a_compiler_the_same_bits_and_errors():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-c", SUM], env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run() == run(NUMBA_DISABLE_JIT="1")
