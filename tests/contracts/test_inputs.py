"""Odd arguments to every public function: each gives what the plain array of the same values gives, or an error that
names the argument; nothing is written before an error."""

import ctypes
import mmap
import re
from typing import Any

import cases
import numpy as np
import oracle
import pytest
from cases.linear import SCHEMES
from hypothesis import given
from hypothesis import strategies as st

import dynq_numba as dq

F32 = np.float32
LARGEST = float(np.finfo(F32).max)
CALLS = {call.name: call for call in cases.calls("small")}
CASES = {name: (call.run, dict(call.arrays)) for name, call in CALLS.items()}
TAKES_OUT = [name for name, call in CALLS.items() if "out" in call.takes]
Q = dq.quantize(np.random.default_rng(7).standard_normal((5, 24), F32))


class Subclass(np.ndarray):
    """What somebody else made of arrays."""


def reversed_in_memory(a):
    return np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim]


def every_other(a):
    room = np.zeros(tuple(2 * n for n in a.shape), a.dtype)[(slice(None, None, 2),) * a.ndim]
    room[...] = a
    return room


def misaligned(a):
    room = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    room[...] = a
    return room


def read_only(a):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def broadcast(a):
    """Along every axis of equal values; the others as they are."""
    for axis in range(a.ndim):
        if a.shape[axis] > 1 and (a == a.take([0], axis)).all():
            return np.broadcast_to(a.take([0], axis), a.shape)
    return np.broadcast_to(a, a.shape)


#: The same values in other guises.
GUISES = {
    "reversed": reversed_in_memory,
    "every other": every_other,
    "columns first": np.asfortranarray,
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": read_only,
    "broadcast": broadcast,
    "a subclass": lambda a: a.view(Subclass),
    "a matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a.view(Subclass),
    "float64": lambda a: a.astype(np.float64) if a.dtype == F32 else a,
    "int32": lambda a: a.astype(np.int32) if a.dtype.kind == "i" and a.dtype.itemsize > 1 else a,
    "uint64": lambda a: a.astype(np.uint64) if a.dtype.kind == "i" and a.dtype.itemsize > 1 else a,
    "a list": lambda a: a.tolist(),
}
#: What no function can take for an array of its own.
WRONG = {
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 2 == 0),
    "objects": lambda a: a.astype(object),
    "complex": lambda a: a.astype(np.complex64),
    "strings": lambda a: a.astype(str),
    "dates": lambda a: np.zeros(a.shape, "datetime64[s]"),
    "records": lambda a: np.zeros(a.shape, [("a", F32)]),
    "long double": lambda a: a.astype(np.longdouble) if a.dtype == F32 else a.astype(object),
    "0-d": lambda a: np.array(a.flat[0]),
    "one more axis": lambda a: a[None, None, None, None, None],
    "one row more": lambda a: np.concatenate([a, a[:1]]) if a.shape[0] > 1 else np.concatenate([a] * 3),
    "a string": lambda a: "x",
    "a number": lambda a: 3.5,
    "an object": lambda a: object(),
    "a type": lambda a: np.ndarray,
}


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    found, expected = np.asarray(found), np.asarray(expected)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


def right_or_told(name: str, argument: str, value: Any, **options: Any) -> BaseException | None:
    """Call with one argument replaced: the result is the plain one, or the error that comes back names the argument."""
    call, arrays = CASES[name]
    try:
        found = call(**{**arrays, argument: value}, **options)
    except (TypeError, ValueError) as error:
        assert re.search(rf"\b{argument}\b", str(error)), f"{name}: {error!r} does not name {argument}"
        return error
    assert same(found, call(**arrays)), f"{name}: another result, and no error"
    return None


def each_argument() -> list[tuple[str, str]]:
    return [(name, argument) for name, (_, arrays) in CASES.items() for argument in arrays]


@pytest.mark.parametrize("guise", GUISES)
@pytest.mark.parametrize(("name", "argument"), each_argument())
def test_the_same_values_in_another_guise(name, argument, guise):
    array = CASES[name][1][argument]
    right_or_told(name, argument, GUISES[guise](array))
    if array.dtype == F32 and guise not in ("a list",):
        assert right_or_told(name, argument, GUISES[guise](array)) is None, "floats are taken however they lie"


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("name", "argument"), each_argument())
def test_what_is_no_such_array_is_told(name, argument, wrong):
    value = WRONG[wrong](CASES[name][1][argument])
    error = right_or_told_shape(name, argument, value, wrong)
    if wrong in ("masked", "objects", "complex", "strings", "dates", "records", "an object", "a type", "a string"):
        assert isinstance(error, (TypeError, ValueError)), f"{name}: took {wrong} for {argument}"


def right_or_told_shape(name, argument, value, wrong):
    """As `right_or_told`; another shape may be a shape that fits, or be told of the argument that it must fit."""
    if wrong not in ("0-d", "one more axis", "one row more", "a number"):
        return right_or_told(name, argument, value)
    call, arrays = CASES[name]
    try:
        call(**{**arrays, argument: value})
    except (TypeError, ValueError, IndexError) as error:
        assert re.search(rf"\b({'|'.join(arrays)})\b", str(error)), f"{name}: {error}"
        return error
    return None


# ------------------------------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("name", TAKES_OUT)
def test_out_in_every_guise(name):
    call, arrays = CASES[name]
    expected = call(**arrays)
    for guise, make in GUISES.items():
        out = make(np.full_like(expected, 7))
        try:
            found = call(**arrays, out=out)
        except (TypeError, ValueError) as error:
            assert "out" in str(error), f"{name}, {guise}: {error}"
            assert guise == "a list" or (np.asarray(out) == 7).all(), "written before the error"
            continue
        assert found is out and same(np.asarray(out), expected), guise
    wrong = np.ma.masked_array(np.full_like(expected, 7), mask=True)
    with pytest.raises(TypeError, match="out"):
        call(**arrays, out=wrong)
    assert (wrong.data == 7).all()
    for bad in (expected[..., :-1].copy(), expected.astype(np.float64), expected[None], 3, "out", [[0.0]]):
        with pytest.raises((TypeError, ValueError), match="out"):
            call(**arrays, out=bad)


@pytest.mark.parametrize("name", TAKES_OUT)
@given(st.data())
def test_out_that_overlaps_what_is_read(name, data):
    """Argument and result in one buffer, at any distance: as if the argument had been copied first."""
    call, arrays = CASES[name]
    expected = call(**arrays)
    wide = [key for key, array in arrays.items() if array.itemsize >= 4]
    argument = data.draw(st.sampled_from(wide or list(arrays)))
    array = arrays[argument]
    room = np.zeros(array.nbytes + expected.nbytes + 64, np.uint8)
    at = data.draw(st.integers(0, (expected.nbytes + 60) // 4)) * 4
    shift = data.draw(st.integers(0, (array.nbytes + 60) // 4)) * 4
    given_ = room[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
    out = room[shift : shift + expected.nbytes].view(expected.dtype).reshape(expected.shape)
    given_[...] = array
    assert same(call(**{**arrays, argument: given_}, out=out), expected)


# --------------------------------------------------------------------------------------------------- sizes, strides


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("attention, lengths", "lstm", "embedding_bag")])
@given(st.data())
def test_sizes_of_zero(name, data):
    """Any axes of any arguments empty: a result of finite numbers, or an error that names an argument."""
    call, arrays = CASES[name]
    cut = {}
    for argument, array in arrays.items():
        axes = data.draw(st.sets(st.integers(0, array.ndim - 1), max_size=2))
        cut[argument] = array[tuple(slice(0 if axis in axes else None) for axis in range(array.ndim))]
    try:
        found = call(**cut)
    except (TypeError, ValueError) as error:
        assert re.search(rf"\b({'|'.join(arrays)}|w|ids)\b", str(error)), error
        return
    for part in found if isinstance(found, tuple) else (found,):
        assert np.isfinite(np.asarray(part, np.float64)).all()


def far_apart(array, gap=3 << 30):
    """A copy whose rows are 3 GB apart; only the pages that are touched take memory."""
    rows = array.reshape(-1, array.shape[-1])
    room = mmap.mmap(-1, gap * (len(rows) - 1) + rows[0].nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    first = np.frombuffer(room, array.dtype, rows.shape[1])
    copy = np.lib.stride_tricks.as_strided(first, rows.shape, (gap, array.itemsize))
    copy[...] = rows
    return copy


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) < 8 or not hasattr(mmap, "MAP_ANONYMOUS"), reason="64-bit Linux")
@pytest.mark.parametrize("name", ["linear", "softmax", "layer_norm", "gelu", "swiglu", "quantize", "matmul"])
def test_strides_beyond_32_bits(name):
    call, arrays = CASES[name]
    arrays = {key: a.reshape(-1, a.shape[-1])[:5] if a.ndim > 1 and key != "b" else a for key, a in arrays.items()}
    if name == "matmul":
        arrays["b"] = arrays["b"][0]
    expected = call(**arrays)
    first = next(iter(arrays))
    assert same(call(**{**arrays, first: far_apart(arrays[first])}), expected)
    if name in TAKES_OUT:
        out = far_apart(np.zeros_like(expected))
        assert call(**arrays, out=out) is out and same(out, expected)


# ----------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("scale", [0.0, -0.0, 1e-45, 1e-39, 1.0, 3e38, np.inf, -np.inf, np.nan, -2.5])
def test_dequantize_takes_any_scale(scale):
    q = Q._replace(scale=np.full(5, scale, F32))
    with np.errstate(all="ignore"):
        difference = Q.data.astype(np.int32) - Q.zero_point[:, None].astype(np.int32)
        oracle.assert_same_bits(dq.dequantize(q), difference.astype(F32) * F32(scale))


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-39, 1e-30, 2.9e38, 3.4e38, -3.4e38, LARGEST, -LARGEST])
@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if not {"rotated", "outliers"} & {*scheme.split()}])
def test_weights_of_any_size(value, scheme):
    weight = np.full((3, 64), value, F32)
    w = dq.pack_linear(weight, **SCHEMES[scheme])
    form = {key: option for key, option in SCHEMES[scheme].items() if key not in ("x_granularity", "x_bits")}
    oracle.assert_same_bits(w.dequantize(), oracle.pack(weight, **form).values)
    assert np.isfinite(w.scale).all() and (w.scale != 0).all() and np.isfinite(w.dequantize()).all()
    assert np.abs(w.dequantize().astype(np.float64) - weight).max() <= np.abs(w.scale).max()
    assert not np.isnan(dq.linear(np.zeros((2, 64), F32), w)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["pack_linear", "pack_conv", "pack_embedding", "pack_lstm"])
def test_weights_that_are_no_numbers_are_told(name, value):
    call, arrays = CASES[name]
    first = next(iter(arrays))
    spoilt = arrays[first].copy()
    spoilt.flat[-1] = value
    with pytest.raises(ValueError, match=first):
        call(**{**arrays, first: spoilt})
