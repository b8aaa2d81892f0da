"""Rotary embeddings and their tables: twin, float64, both layouts, positions, and a decimal oracle for the tables."""

from decimal import Decimal, localcontext

import numpy as np
import oracle
import oracle_floats as exact
import pytest
from canaries import assert_only_inside, guarded
from test_floats import within

import dynq_numba as dq
from dynq_numba.kernels.rowwise import reference

F32 = np.float32
each_layout = pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])


@each_layout
@pytest.mark.parametrize("dim", [2, 6, 30, 32, 34, 64, 66, 128, 130])
def test_rotary(isa, rng, dim, interleaved):
    cos, sin = dq.rotary_tables(50, dim)
    for rest in (0, 1, 5):
        x = rng.standard_normal((7, dim + rest)).astype(F32)
        places = rng.integers(0, 50, 7)
        for y, used in (
            (dq.rotary(x, cos, sin, places, interleaved=interleaved), places),
            (dq.rotary(x, cos, sin, offset=43, interleaved=interleaved), np.arange(43, 50)),
        ):
            oracle.assert_same_bits(y, reference.rotary(x, cos, sin, used, interleaved))
            within(y, exact.rotary(x, cos, sin, used, interleaved))
            oracle.assert_same_bits(y[:, dim:].copy(), x[:, dim:].copy())


def test_layouts_of_hugging_face_and_gpt_j(rng):
    """rotate_half on tables that repeat themselves, and complex numbers."""
    x = rng.standard_normal((2, 3, 9, 16)).astype(F32)
    cos, sin = dq.rotary_tables(9, 16)
    twice_cos, twice_sin = np.concatenate([cos, cos], 1), np.concatenate([sin, sin], 1)
    half = np.concatenate([-x[..., 8:], x[..., :8]], -1)
    oracle.assert_same_bits(dq.rotary(x, cos, sin), x * twice_cos + half * twice_sin)
    turned = x.view(np.complex64) * (cos + 1j * sin)
    np.testing.assert_allclose(dq.rotary(x, cos, sin, interleaved=True), turned.view(F32), atol=1e-6)


@each_layout
def test_positions_broadcast_and_arrays_are_any(rng, interleaved):
    x = rng.standard_normal((2, 9, 3, 16)).astype(F32)  # [B, S, heads, D]
    cos, sin = dq.rotary_tables(20, 16)
    places = rng.integers(0, 20, (2, 9, 1))
    rows = np.broadcast_to(places, x.shape[:-1]).reshape(-1)
    expected = reference.rotary(x.reshape(-1, 16), cos, sin, rows, interleaved).reshape(x.shape)
    for kind in (np.int64, np.int32, np.uint8):
        oracle.assert_same_bits(dq.rotary(x, cos, sin, places.astype(kind), interleaved=interleaved), expected)
    oracle.assert_same_bits(dq.rotary(x.astype(np.float64), cos, sin, places, interleaved=interleaved), expected)
    oracle.assert_same_bits(dq.rotary(np.asfortranarray(x), cos, sin, places, interleaved=interleaved), expected)
    flipped = (np.asfortranarray(table[::-1])[::-1] for table in (cos, sin))
    out = x.copy()
    assert dq.rotary(out, *flipped, places, interleaved=interleaved, out=out) is out
    oracle.assert_same_bits(out, expected)
    one = dq.rotary(x[0, 0, 0], cos, sin, offset=3, interleaved=interleaved)
    oracle.assert_same_bits(one, reference.rotary(x[0, 0, :1], cos, sin, np.array([3]), interleaved)[0])
    assert dq.rotary(x[:0], cos, sin).shape == (0, 9, 3, 16)


@each_layout
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_canaries(rng, interleaved, threads):
    cos, sin = dq.rotary_tables(300, 50)
    x = rng.standard_normal((300, 61)).astype(F32)
    raw, out = guarded(x.shape, F32, 4, 3)
    dq.rotary(x, cos, sin, interleaved=interleaved, out=out, threads=threads)
    oracle.assert_same_bits(out.copy(), reference.rotary(x, cos, sin, np.arange(300), interleaved))
    assert_only_inside(raw, out)
    nan = x.copy()
    nan[7, 3] = np.nan
    clean, y = dq.rotary(x, cos, sin), dq.rotary(nan, cos, sin)
    assert np.isnan(y[7]).sum() == 2
    oracle.assert_same_bits(np.delete(y, 7, 0), np.delete(clean, 7, 0))


# -- tables -------------------------------------------------------------------------------------
def decimal_table(position, dim, base):
    """cos and sin of position · base^(-2i/dim) to many digits, by halving the angle and doubling the result."""
    values = []
    with localcontext() as context:
        context.prec = 80
        for i in range(dim // 2):
            angle = Decimal(position) * (Decimal(base).ln() * -2 * i / dim).exp() / 2**60
            cos, sin = 1 - angle**2 / 2 + angle**4 / 24, angle - angle**3 / 6 + angle**5 / 120
            for _ in range(60):
                cos, sin = cos * cos - sin * sin, 2 * cos * sin
            values.append((float(cos), float(sin)))
    return np.array(values).T


@pytest.mark.parametrize("base", [10000.0, 500000, 1.5])
def test_tables(base):
    places = np.array([0, 1, 2, 3, 511, 4097, 131071, 10**6 + 7, 2**31 - 1])
    tables = dq.rotary_tables(places, 64, base)
    for i, place in enumerate(places):
        for table, value in zip(tables, decimal_table(int(place), 64, base), strict=True):
            ulp = np.spacing(np.abs(value).astype(F32)).astype(np.float64)
            assert (np.abs(table[i] - value) <= np.maximum(0.51 * ulp, 2.0**-40)).all()
    by_length = dq.rotary_tables(4, 64, base)
    for table, whole in zip(by_length, tables, strict=True):
        assert table.shape == (4, 32)
        oracle.assert_same_bits(table, whole[:4])


def test_tables_of_fractions_and_of_nothing():
    cos, _ = dq.rotary_tables(np.arange(8) / 4, 2)
    np.testing.assert_allclose(cos[:, 0], np.cos(np.arange(8) / 4), rtol=1e-6)
    assert dq.rotary_tables(0, 4)[0].shape == (0, 2)


def error(match, call, kind=ValueError):
    with pytest.raises(kind, match=match):
        call()


def test_errors():
    x, (cos, sin) = np.zeros((5, 8), F32), dq.rotary_tables(9, 8)
    error("^cos", lambda: dq.rotary(x, cos[0], sin))
    error("^sin", lambda: dq.rotary(x, cos, sin[1:]))
    error("^cos", lambda: dq.rotary(x[:, :6], cos, sin))
    error("^cos", lambda: dq.rotary(np.zeros((10, 8), F32), cos, sin))
    error("^offset", lambda: dq.rotary(x, cos, sin, offset=5))
    error("^offset", lambda: dq.rotary(x, cos, sin, offset=-1))
    error("^offset", lambda: dq.rotary(x, cos, sin, offset=1.0), TypeError)
    error("^offset", lambda: dq.rotary(x, cos, sin, np.arange(5), offset=1))
    error("^positions", lambda: dq.rotary(x, cos, sin, np.arange(5) + 5))
    error("^positions", lambda: dq.rotary(x, cos, sin, np.arange(5) - 1))
    error("^positions", lambda: dq.rotary(x, cos, sin, np.arange(4)))
    error("^positions", lambda: dq.rotary(x, cos, sin, np.arange(5.0)), TypeError)
    error("^positions", lambda: dq.rotary(x, cos, sin, [0] * 5), TypeError)
    error("^interleaved", lambda: dq.rotary(x, cos, sin, interleaved=1), TypeError)
    error("^x", lambda: dq.rotary(np.float32(1), cos, sin), TypeError)
    error("^dim", lambda: dq.rotary_tables(4, 3))
    error("^dim", lambda: dq.rotary_tables(4, 4.0), TypeError)
    error("^base", lambda: dq.rotary_tables(4, 4, 0))
    error("^base", lambda: dq.rotary_tables(4, 4, "1"), TypeError)
    error("^positions", lambda: dq.rotary_tables(-1, 4))
    error("^positions", lambda: dq.rotary_tables(np.zeros((2, 2)), 4))
    error("^positions", lambda: dq.rotary_tables(2.5, 4), TypeError)


def test_positions_may_lie_in_out(rng):
    """They are read before anything is written over them."""
    x = rng.standard_normal((32, 8)).astype(F32)
    cos, sin = dq.rotary_tables(64, 8)
    positions = np.arange(32)[::-1].copy()
    wanted = dq.rotary(x, cos, sin, positions)
    room = np.zeros(256, F32)
    inside = room.view(np.int64)[:32]
    inside[:] = positions
    oracle.assert_same_bits(dq.rotary(x, cos, sin, inside, out=room.reshape(32, 8)).copy(), wanted)
