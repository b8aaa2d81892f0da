"""attention around the kernel: the cache, errors, compiled code, and life without a compiler."""

import hashlib
import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest
from test_attention import F32, INF, operands, twin

import dynq_numba as dq


def test_the_result_lies_in_memory_as_q_does(rng):
    q, k, v = operands(rng, (2, 4, 2, 9, 11, 16, 12))
    assert dq.attention(q, k, v).flags.c_contiguous
    y = np.ascontiguousarray(q.swapaxes(1, 2)).swapaxes(1, 2)
    for result in (dq.attention(y, k, v), dq.attention(y, k, v, causal=True, scale=0.5), dq.attention(y[:1], k, v)):
        assert result.swapaxes(1, 2).flags.c_contiguous and result.swapaxes(1, 2).reshape(18, -1).base is not None
        assert result.shape == (2, 4, 9, 12)
    oracle.assert_same_bits(dq.attention(y, k, v).copy(order="C"), dq.attention(q, k, v))


# -- the cache ----------------------------------------------------------------------------------
def test_a_cache_decodes_as_one_call_does(rng):
    q, k, v = operands(rng, (2, 4, 2, 90, 90, 16, 12))
    whole = dq.attention(q, k, v, causal=True)
    cache = dq.KVCache(2, 2, 100, 16, value_dim=12)
    at = 0
    for count in (60, 1, 1, 5, 1, 22):
        part = slice(at, at + count)
        y = dq.attention(q[:, :, part], *cache.append(k[:, :, part], v[:, :, part].astype(np.float64)), causal=True)
        oracle.assert_same_bits(y, whole[:, :, part].copy(), f"{part}")
        at += count
    assert cache.length == 90 and cache.keys.shape == (2, 2, 90, 16) and cache.values.shape == (2, 2, 90, 12)
    with pytest.raises(ValueError, match="k must have at most 10"):
        cache.append(k[:, :, :11], v[:, :, :11])
    cache.length = 60
    assert (cache.keys == k[:, :, :60]).all()
    for length in (61, -1, True, 1.5):
        with pytest.raises((TypeError, ValueError), match="length"):
            cache.length = length
    for wrong_k, wrong_v, name in ((k[:, :1], v, "k"), (k, v[..., :3], "v"), (k[:, :, :2], v[:, :, :1], "v")):
        with pytest.raises(ValueError, match=f"^{name} must"):
            cache.append(wrong_k, wrong_v)
    for arguments in ((1, 2, -1, 4), (1, 2, 3, 4.0), (True, 1, 1, 1)):
        with pytest.raises((TypeError, ValueError), match="must be"):
            dq.KVCache(*arguments)
    single = dq.KVCache(1, 2, 5, 16, value_dim=12)
    assert single.append(k[0, :, :3], v[0, :, :3])[0].shape == (1, 2, 3, 16)


# -- errors -------------------------------------------------------------------------------------
GOOD = {name: np.zeros(shape, F32) for name, shape in (("q", (1, 4, 3, 8)), ("k", (1, 2, 5, 8)), ("v", (1, 2, 5, 6)))}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"q": [1.0]}, TypeError, "q must be a numpy array"),
        ({"k": np.zeros((1, 2, 5, 8), np.int32)}, TypeError, "k must be float16"),
        ({"v": np.zeros((5, 6), F32)}, ValueError, "v must have at least three"),
        ({"k": np.zeros((1, 2, 5, 7), F32)}, ValueError, "k must have q's last dimension, 8"),
        ({"v": np.zeros((1, 2, 4, 6), F32)}, ValueError, "v must have k's heads and positions"),
        ({"k": np.zeros((1, 3, 5, 8), F32), "v": np.zeros((1, 3, 5, 8), F32)}, ValueError, "k must have heads"),
        ({"k": np.zeros((1, 0, 5, 8), F32), "v": np.zeros((1, 0, 5, 8), F32)}, ValueError, "k must have heads"),
        ({"q": np.zeros((3, 4, 3, 8), F32), "k": np.zeros((2, 2, 5, 8), F32)}, ValueError, "must broadcast"),
        ({"mask": 1.0}, TypeError, "mask must be a numpy array"),
        ({"mask": np.ones((3, 5), np.int64)}, TypeError, "mask must be a numpy array of booleans or floats"),
        ({"mask": np.ones((3, 4), bool)}, ValueError, "mask must broadcast"),
        ({"mask": np.ones((2, 1, 1, 3, 5), bool)}, ValueError, "mask must broadcast"),
        ({"causal": 1}, TypeError, "causal must be"),
        ({"scale": "1"}, TypeError, "scale must be"),
        ({"scale": True}, TypeError, "scale must be"),
        ({"key_lengths": 6}, ValueError, "key_lengths must lie in"),
        ({"key_lengths": [-1]}, ValueError, "key_lengths must lie in"),
        ({"key_lengths": 2.0}, TypeError, "key_lengths must hold integers"),
        ({"key_lengths": [1, 2]}, ValueError, "key_lengths must broadcast"),
        ({"threads": 0}, ValueError, "threads"),
        ({"threads": 1.0}, TypeError, "threads"),
        ({"out": np.zeros((1, 4, 3, 8), F32)}, ValueError, "out must have shape"),
        ({"out": np.zeros((1, 4, 3, 6))}, TypeError, "out must be"),
        ({"out": np.zeros((1, 4, 3, 12), F32)[..., ::2]}, ValueError, "out must be contiguous"),
    ],
)
def test_errors_name_the_argument(changes, error, message):
    with pytest.raises(error, match=message):
        dq.attention(**(GOOD | changes))


def test_out_is_untouched_by_an_error():
    out = np.full((1, 4, 3, 6), 7, F32)
    with pytest.raises(ValueError, match="mask"):
        dq.attention(**GOOD, mask=np.ones(4, bool), out=out)
    assert (out == 7).all()


# -- compiled code ------------------------------------------------------------------------------
@numba.njit
def compiled_plain(q, k, v, causal):
    return dq.attention(q, k, v, causal=causal)


@numba.njit
def compiled_full(q, k, v, mask, lengths, out):
    return dq.attention(q, k, v, mask=mask, scale=0.25, key_lengths=lengths, out=out)


@numba.njit
def compiled_in_integers(q, k, v, bits):
    return dq.attention(q, k, v, causal=True, bits=bits)


@numba.njit
def compiled_eight(q, k, v):
    return dq.attention(q, k, v, causal=True, bits=8)


@numba.njit
def decode(q, k, v, keys, values, start):
    """Steps over a cache that the caller holds."""
    out = np.empty((q.shape[0], q.shape[1], q.shape[2], v.shape[3]), np.float32)
    for i in range(q.shape[2]):
        keys[:, :, start + i] = k[:, :, i]
        values[:, :, start + i] = v[:, :, i]
        end = start + i + 1
        out[:, :, i] = dq.attention(q[:, :, i : i + 1], keys[:, :, :end], values[:, :, :end])[:, :, 0]
    return out


def assert_full(q, k, v, mask, lengths):
    out = np.empty((2, 4, 20, 24), F32)
    y = compiled_full(q, k, v, mask, lengths, out)
    oracle.assert_same_bits(out, twin(q, k, v, mask=mask, scale=0.25, key_lengths=lengths))
    assert np.shares_memory(y, out)


def test_in_compiled_code(rng):
    q, k, v = operands(rng, (2, 4, 2, 20, 30, 16, 24))
    for causal in (False, True):
        oracle.assert_same_bits(compiled_plain(q, k, v, causal), twin(q, k, v, causal=causal))
    assert_full(q, k, v, rng.random((2, 1, 20, 30)) < 0.7, np.array([30, 3]))


def test_every_type_in_compiled_code(rng):
    """Each is some seconds of compiling: not for the quick tier."""
    q, k, v = operands(rng, (2, 4, 2, 20, 30, 16, 24))
    oracle.assert_same_bits(compiled_plain(q.astype(np.float64), k, v, False), twin(q, k, v))
    turned = q[..., ::-1], k[..., ::-1], v
    oracle.assert_same_bits(compiled_plain(*turned, True), twin(*turned, causal=True))
    oracle.assert_same_bits(compiled_in_integers(q, k, v, None), twin(q, k, v, causal=True))
    chosen = rng.random((2, 1, 20, 30)) < 0.7
    for mask in (chosen, np.where(chosen, F32(1), -INF)):
        for lengths in (25, np.array([30, 3])):
            assert_full(q, k, v, mask, lengths)
    keys, values = np.full((2, 2, 40, 16), np.nan, F32), np.full((2, 2, 40, 24), np.nan, F32)
    k, v = k[:, :, :20], v[:, :, :20]
    oracle.assert_same_bits(decode(q, k, v, keys, values, 0), twin(q, k, v, causal=True))


def test_integers_in_compiled_code(rng):
    q, k, v = operands(rng, (2, 4, 2, 70, 90, 16, 24))
    expected = twin(q, k, v, causal=True, bits=8)
    oracle.assert_same_bits(compiled_eight(q, k, v), expected)
    oracle.assert_same_bits(compiled_in_integers(q, k, v, 8), expected)
    with pytest.raises(ValueError, match="bits must be 8"):
        compiled_in_integers(q, k, v, 4)
    with pytest.raises(ValueError, match="q must have a last dimension"):
        compiled_eight(*operands(rng, (1, 1, 1, 2, 2, 1041, 3)))
    with pytest.raises(numba.TypingError, match="bits must be 8"):
        compiled_in_integers(q, k, v, 8.0)


def test_errors_in_compiled_code(rng):
    q, k, v = operands(rng, (2, 4, 2, 20, 30, 16, 24))
    with pytest.raises(ValueError, match="v must"):
        compiled_plain(q, k, v[:, :, 1:].copy(), False)
    lengths, out = np.array([30, 3]), np.empty((2, 4, 20, 24), F32)
    with pytest.raises(ValueError, match="mask"):
        compiled_full(q, k, v, np.ones((2, 1, 20, 29), bool), lengths, out)
    with pytest.raises(ValueError, match="key_lengths"):
        compiled_full(q, k, v, np.ones((2, 1, 20, 30), bool), lengths + 1, out)
    with pytest.raises(numba.TypingError, match="q must be"):
        compiled_plain(q[0], k, v, False)


# -- no compiler --------------------------------------------------------------------------------
def fingerprint():
    """A hash of some results."""
    rng = np.random.default_rng(5)
    q, k, v = operands(rng, (2, 4, 2, 20, 70, 16, 24))
    mask = rng.random((20, 70)) < 0.7
    digest = hashlib.sha256()
    several = {"mask": mask.astype(F32), "key_lengths": [70, 9], "scale": 2}
    for options in ({}, {"causal": True}, {"mask": mask}, several, {"bits": 8}, {**several, "bits": 8}):
        digest.update(dq.attention(q, k, v, **options).tobytes())
    digest.update(dq.attention(q[:, :, :1], k, v).tobytes())
    return digest.hexdigest()


def test_without_a_compiler_the_reference_gives_the_same_bits():
    command = [sys.executable, __file__]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == fingerprint()


if __name__ == "__main__":
    print(fingerprint())
