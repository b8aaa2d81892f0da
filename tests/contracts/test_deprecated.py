"""Old names work until 0.3 and say what the new ones are; both alignments of a causal mask."""

import re
from pathlib import Path

import numba
import numpy as np
import pytest

import dynq_numba as dq

F32 = np.float32
CHANGELOG = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()


@pytest.fixture
def weight(rng):
    return rng.standard_normal((5, 40), F32)


def old(match, function, *args, **kwargs):
    """What the call gives; it warns, and of the line that calls."""
    with pytest.warns(DeprecationWarning, match=match) as caught:
        result = function(*args, **kwargs)
    assert [Path(each.filename).name for each in caught] == [Path(__file__).name]
    assert "0.3" in str(caught[0].message)
    return result


def test_activations_of_pack_linear_is_x_granularity(weight):
    new = dq.pack_linear(weight, x_granularity="per_tensor")
    assert old("x_granularity", dq.pack_linear, weight, activations="per_tensor") == new
    assert old("x_granularity", lambda: new.activations) == new.x_granularity == "per_tensor"
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match=r"x_granularity.*per_token"):
        dq.pack_linear(weight, activations="gelu")


@pytest.mark.parametrize(("pack", "gates"), [(dq.pack_lstm, 4), (dq.pack_gru, 3)])
def test_layout_is_to_be_said(rng, pack, gates):
    w, r = rng.standard_normal((gates * 4, 3), F32), rng.standard_normal((gates * 4, 4), F32)
    assert old("layout", pack, w, r) == pack(w, r, layout="onnx") != pack(w, r, layout="torch")


def test_matmul_is_quantized_matmul(rng):
    a, b = rng.standard_normal((3, 40), F32), rng.standard_normal((40, 5), F32)
    new = dq.quantized_matmul(a, b)
    assert (old("quantized_matmul", dq.matmul, a, b) == new).all()
    out = np.empty((3, 5), F32)
    assert old("quantized_matmul", dq.matmul, a, b, out=out, threads=1) is out and (out == new).all()

    @numba.njit
    def jitted(a, b):
        return dq.matmul(a, b)

    assert (jitted(a, b) == new).all()


def test_the_changelog_lists_them():
    table = CHANGELOG[CHANGELOG.index("### Deprecated") :]
    for name in ("activations", "x_granularity", "layout", "matmul", "quantized_matmul"):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", table), name


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (5, 5), (3, 70), (70, 3), (9, 0), (0, 4)])
def test_causal_masks_of_both_alignments(rng, rows, keys, bits):
    q, k, v = (rng.standard_normal((2, heads, n, 8), F32) for heads, n in ((4, rows), (2, keys), (2, keys)))
    addend = rng.standard_normal((4, rows, keys), F32)
    same = dq.attention(q, k, v, causal="bottom_right", bits=bits)
    assert same.tobytes() == dq.attention(q, k, v, causal=True, bits=bits).tobytes()
    for lengths in (None, keys, [keys, keys // 2]):
        count = np.broadcast_to(keys if lengths is None else lengths, 2)
        options = {"bits": bits, "mask": addend, "key_lengths": lengths}
        got = dq.attention(q, k, v, causal="top_left", **options)
        out = np.empty_like(got)
        assert dq.attention(q, k, v, causal="top_left", out=out, **options) is out and out.tobytes() == got.tobytes()
        for b in range(2):
            for i in range(rows):  # row by row, with as many keys as it sees: the same bits
                n = min(i + 1, count[b])
                alone = dq.attention(
                    q[b][:, i : i + 1], k[b][:, :n], v[b][:, :n], mask=addend[:, i : i + 1, :n], bits=bits
                )
                assert got[b][:, i : i + 1].tobytes() == alone.tobytes(), (b, i)


def test_keys_that_a_top_left_mask_takes_away_may_hold_anything(rng):
    q, k, v = rng.standard_normal((3, 1, 4, 8), F32)
    k[:, 1:], v[:, 1:] = np.nan, np.nan
    first = dq.attention(q, k, v, causal="top_left")[:, 0]
    assert first.tobytes() == v[:, 0].tobytes()


def test_other_alignments_are_refused(rng):
    q = rng.standard_normal((1, 4, 8), F32)
    for wrong, error in (("left", ValueError), (1, TypeError), (None, TypeError)):
        with pytest.raises(error, match="causal must be"):
            dq.attention(q, q, q, causal=wrong)

    @numba.njit
    def inside(q):
        return dq.attention(q, q, q, causal="top_left")

    with pytest.raises(numba.core.errors.NumbaError, match="causal must be"):
        inside(q[None])
