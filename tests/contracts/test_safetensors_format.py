"""The container: the safetensors package reads what we write, we read what it writes, and both refuse the same."""

import json

import ml_dtypes
import numpy as np
import pytest
import saved
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import dynq_numba as dq


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def file(header, data=b"", length=None):
    """A file with that header: bytes, or what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(code="F32", shape=(2,), begin=0, end=8):
    return {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}


def test_the_package_reads_ours(rng, path):
    arrays = {name: array for name, array in saved.arrays(rng).items() if array.dtype != np.complex64}
    w = dq.pack_linear(rng.standard_normal((5, 70), np.float32), rng.standard_normal(5), granularity="per_channel")
    dq.save(path, arrays | {"w": w, "grouped": dq.pack_linear(np.ones((2, 70)), granularity="per_group")})
    with safe_open(path, "np") as opened:
        assert opened.metadata()["format"] == "dynq_numba" and opened.metadata()["dynq_numba.version"] == "1"
        for name, array in arrays.items():
            if array.dtype.name != "bfloat16":  # numpy has none
                assert saved.same(np.ascontiguousarray(array).reshape(array.shape), opened.get_tensor(name)), name
        for role, part in {"qweight": w.qweight, "scale": w.scale, "bias": w.bias}.items():
            assert saved.same(part, opened.get_tensor(f"w.{role}"))
        assert opened.get_slice("grouped.scale").get_dtype() == "BF16"


def test_we_read_the_package_s(rng, path):
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in saved.arrays(rng).items()}
    arrays = {name: array for name, array in arrays.items() if array.dtype.name not in ("bfloat16", "complex64")}
    save_file(arrays, path, metadata={"format": "pt", "more": "text"})
    for verify in (True, False):
        found = dq.load(path, verify=verify)
        assert set(found) == set(arrays) and all(saved.same(arrays[name], found[name]) for name in found)
    assert not any(array.flags.owndata for array in found.values())


def test_bfloat16_of_others(path):
    path.write_bytes(file({"a": entry("BF16", [3], 0, 6)}, np.array([1, -2, 0.5], ml_dtypes.bfloat16).tobytes()))
    assert dq.load(path)["a"].tolist() == [1, -2, 0.5] and dq.load(path)["a"].dtype == ml_dtypes.bfloat16


def test_arrays_that_are_not_aligned_are_copied(path):
    data = b"\x01" + np.arange(2, dtype="<f4").tobytes()
    path.write_bytes(file({"b": entry("F32", [2], 1, 9), "a": entry("BOOL", [1], 0, 1)}, data))
    found = dq.load(path)
    assert found["b"].flags.aligned and not found["b"].flags.writeable and found["b"].tolist() == [0, 1]
    assert load_file(path)["b"].tolist() == [0, 1]


DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
MALFORMED = {
    "empty": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "no header": b"\0" * 8,
    "longer than the file": file({"a": entry()}, b"12345678", 2**20),
    "as long as can be said": file({"a": entry()}, b"12345678", 2**64 - 1),
    "ends within": file({"a": entry()}, b"12345678")[:-30],
    "not JSON": file(b"{nothing}"),
    "an array": file([1]),
    "a byte order mark": file("\ufeff{}".encode()),
    "no UTF-8": file(b'{"\xff": 1}'),
    "half a surrogate": file(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"12345678"),
    "two objects": file(b"{} {}"),
    "nested deep": file(DEEP),
    "nested as deep as Python": file(b'{"a":' + b"[" * 930 + b"]" * 930 + b"}"),
    "NaN": file(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', b"12345678"),
    "Infinity": file(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', b"12345678"),
    "digits without end": file(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b"]}}"),
    "a name twice": file(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        b"1" * 16,
    ),
    "a field twice": file(b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', b"12345678"),
    "metadata of numbers": file({"__metadata__": {"a": 1}}),
    "metadata of nothing": file({"__metadata__": None}),
    "a list for an entry": file({"a": []}),
    "no dtype": file({"a": {"shape": [2], "data_offsets": [0, 8]}}, b"12345678"),
    "another field": file({"a": entry() | {"more": 1}}, b"12345678"),
    "unknown dtype": file({"a": entry("F5")}, b"12345678"),
    "dtype of a number": file({"a": entry(4)}, b"12345678"),
    "a negative size": file({"a": entry("F32", [-2])}, b"12345678"),
    "two negative sizes": file({"a": entry("F32", [-2, -1])}, b"12345678"),
    "a size of a float": file({"a": entry("F32", [2.0])}, b"12345678"),
    "a size of true": file({"a": entry("F32", [2, True])}, b"12345678"),
    "beyond int64": file({"a": entry("F32", [2**64, 0], 0, 0)}),
    "a product beyond int64": file({"a": entry("F32", [2**62, 2**62, 0], 0, 0)}),
    "wraps to 8": file({"a": entry("F32", [2**62 + 2])}, b"12345678"),
    "too many axes": file({"a": entry("F32", [1] * 70 + [2])}, b"12345678"),
    "an endless product": file({"a": entry("F32", [2**62] * 100_000)}, b"12345678"),
    "one offset": file({"a": entry() | {"data_offsets": [0]}}, b"12345678"),
    "offsets of texts": file({"a": entry("F32", [2], "0", "8")}, b"12345678"),
    "ends before it begins": file({"a": entry("F32", [2], 8, 0)}, b"12345678"),
    "beyond the end": file({"a": entry("F32", [2], 4, 12)}, b"12345678"),
    "bytes after the last": file({"a": entry()}, b"123456789"),
    "bytes before the first": file({"a": entry("F32", [2], 4, 12)}, b"1" * 12),
    "a gap": file({"a": entry(), "b": entry("F32", [2], 12, 20)}, b"1" * 20),
    "an overlap": file({"a": entry(), "b": entry("F32", [2], 4, 12)}, b"1" * 12),
    "the same twice": file({"a": entry(), "b": entry()}, b"1" * 8),
    "another size than its shape": file({"a": entry("F32", [3])}, b"12345678"),
    "a boolean of 2": file({"a": entry("BOOL", [2], 0, 2)}, b"\0\x02"),
}
#: What the package lets pass, and numpy cannot take or JSON does not allow.
LENIENT = {
    "too many axes", "a boolean of 2", "another field", "half a surrogate", "a name twice", "metadata of nothing",
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_files_are_told(path, what):
    path.write_bytes(MALFORMED[what])
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"model\.safetensors: "):
            dq.load(path, verify=verify)


@pytest.mark.parametrize("what", sorted(set(MALFORMED) - LENIENT))
def test_the_package_refuses_them_too(path, what):
    path.write_bytes(MALFORMED[what])
    with pytest.raises(Exception):  # noqa: B017 (of its own)
        load_file(path)


def test_no_more_memory_than_the_file_is_asked_for(path):
    """A header that tells of much is refused by what is there."""
    import tracemalloc

    for shape, end in (([2**40], 2**42), ([2**31, 2**20], 2**53)):
        path.write_bytes(file({"a": entry("F32", shape, 0, end)}, b"1" * 64))
        tracemalloc.start()
        with pytest.raises(ValueError, match="64"):
            dq.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
