"""The safetensors container: named arrays in one file. Their layout allows using a memory map as the arrays.

    8 bytes     how long the header is, little-endian
    header      JSON in UTF-8, from "{" on, spaces behind it; no name twice: {"__metadata__": {name: text, …},
                name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
    data        the arrays' values, C order, little-endian; offsets count from here, and leave neither gap nor overlap

Arrays of wide types come first and the header is padded, so every array is aligned. Source: the safetensors package's
README, "Format". The limits of the header are the same. This file exists because the format is small, and a library
that only needs numba should be able to read its own weights. tests/contracts/test_safetensors_format.py compares it
with the package, reading and writing.

A file may be damaged or forged. Everything is checked before it is used, against the bytes of the file. No array is
made from a number in the header alone. Anything wrong raises ValueError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..arguments.checks import describe

METADATA = "__metadata__"
#: Types by their name in a header. numpy has no bfloat16: its bits are BF16 here, uint16.
DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "BF16": "<u2", "U32": "<u4",
        "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
    }.items()
}  # fmt: skip
#: The package's own limit of a header's bytes, and the axes that every numpy has.
MOST_HEADER, MOST_AXES = 100_000_000, 32
#: Bytes that data starts at a multiple of: a cache line. And those that are handled between two looks for Ctrl-C.
ALIGN, CHUNK = 64, 1 << 22


class Tensor(NamedTuple):
    """An array to write: its type's name in DTYPES, its shape, and a function that makes it when it is written."""

    code: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


def joined(name: str, role: str) -> str:
    """The name in the file of the array `role` of `name`."""
    return f"{name}.{role}" if role else name


def header_of(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, Any]:
    """The header of a file with these arrays, in the order in which they are written."""
    header: dict[str, Any] = {METADATA: metadata}
    place = 0
    for name, (code, shape, _) in sorted(tensors.items(), key=lambda item: -DTYPES[item[1].code].itemsize):
        end = place + math.prod(shape) * DTYPES[code].itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    return header


def encoded(header: dict[str, Any]) -> bytes:
    """A file's bytes before its data."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGN)
    if len(text) > MOST_HEADER:
        raise ValueError(f"so many names and shapes take a header of {len(text)} bytes; {MOST_HEADER} are allowed")
    return len(text).to_bytes(8, "little") + text


def data_of(header: dict[str, Any], tensors: dict[str, Tensor]) -> Iterator[bytes]:
    """A file's data, in parts."""
    for name in header:
        if name != METADATA:
            code, shape, make = tensors[name]
            flat = np.asarray(make(), DTYPES[code], order="C").reshape(-1).view(np.uint8)
            assert flat.nbytes == math.prod(shape) * DTYPES[code].itemsize
            for begin in range(0, flat.nbytes, CHUNK):
                yield flat[begin : begin + CHUNK].tobytes()


def parsed(text: str) -> Any:
    """The parsed JSON. ValueError also for a repeated name, NaN, and too deep nesting."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"{describe(name)} comes twice")
            found[name] = value
        return found

    def refused(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refused)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


#: How an ONNX model begins: with its version.
ONNX = b"\x08"
#: How other files begin.
_OTHERS = {
    b"PK\3\4": "a zip archive, such as torch.save and numpy.savez write",
    b"\x80": "a pickle",
    b"\x93NUMPY": "a .npy file",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer of Git LFS, which `git lfs pull` replaces by the file",
    ONNX: "an ONNX model, which dynq_numba.onnx is for",
    b"{": "JSON",
    b"<": "HTML or XML",
}


def _unlike(content: Any) -> str:
    if not len(content):
        return ": it is empty"
    return looks_like(bytes(content[:32])) or ": it begins with other bytes"


def looks_like(start: bytes) -> str:
    """What a file is known as that begins so, as the end of a sentence; nothing where that is unknown."""
    looks = next((what for magic, what in _OTHERS.items() if start.startswith(magic)), None)
    return f", but looks like {looks}" if looks else ""


def read(content: Any) -> tuple[dict[str, Any], int]:
    """The checked header of a file, and where data begins; `content` is the file's bytes, such as its map."""
    length = int.from_bytes(content[:8], "little")
    if bytes(content[8:9]) != b"{" or length > MOST_HEADER:
        raise ValueError(f"this is no safetensors file{_unlike(content)}")
    if 8 + length > len(content):
        raise ValueError(f"it ends within its header, which has {length} bytes: of the file there are {len(content)}")
    raw = bytes(content[8 : 8 + length])
    try:
        header = parsed(raw.decode())
        for name in header:
            name.encode()
    except ValueError as error:
        raise ValueError(f"its header is damaged: {error}") from None
    metadata = header.setdefault(METADATA, {})
    if type(metadata) is not dict or any(type(text) is not str for text in metadata.values()):
        raise ValueError(f"{METADATA} must hold texts by name; got {describe(metadata)}")
    _check(header, len(content) - 8 - length)
    return header, 8 + length


def _check(header: dict[str, Any], size: int) -> None:
    """Check that entries are valid and their offsets fill `size` bytes."""
    ranges = []
    for name, entry in header.items():
        if name == METADATA:
            continue
        if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{describe(name)} must have dtype, shape and data_offsets; got {describe(entry)}")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if type(code) is not str or code not in DTYPES:
            raise ValueError(f"{describe(name)} has dtype {describe(code)}; known are {', '.join(DTYPES)}")
        if not _sizes(shape) or len(shape) > MOST_AXES:
            raise ValueError(f"{describe(name)} must have a shape of {MOST_AXES} sizes at most; got {describe(shape)}")
        if not _sizes(offsets) or len(offsets) != 2:
            raise ValueError(f"{describe(name)} must have two data_offsets; got {describe(offsets)}")
        begin, end = offsets
        item = DTYPES[code].itemsize
        if math.prod(max(1, length) for length in shape) * item > np.iinfo(np.intp).max:
            raise ValueError(f"{describe(name)} has a shape beyond what arrays can have: {describe(shape)}")
        if end - begin != math.prod(shape) * item:
            raise ValueError(f"{describe(name)}, {code} {describe(shape)}, has {end - begin} bytes at {offsets}")
        ranges.append((begin, end, name))
    place = 0
    for begin, end, name in sorted(ranges):
        if begin != place:
            raise ValueError(f"{describe(name)} begins at {begin}, where the data before it ends at {place}")
        place = end
    if place != size:
        raise ValueError(f"its arrays take {place} bytes, and it has {size}")


def _sizes(value: Any) -> bool:
    return type(value) is list and all(type(each) is int and 0 <= each < 2**63 for each in value)


def array(header: dict[str, Any], name: str, content: Any, start: int) -> np.ndarray:
    """A read-only array, a view of `content` if it is aligned. BF16 is returned as uint16."""
    entry = header[name]
    dtype = DTYPES[entry["dtype"]]
    found = np.ndarray(tuple(entry["shape"]), dtype, content, start + entry["data_offsets"][0])
    if entry["dtype"] == "BOOL" and found.size and found.view(np.uint8).max() > 1:
        raise ValueError(f"{describe(name)} must hold booleans, bytes of 0 or 1; got others")
    if not found.flags.aligned:
        found = found.copy()
    found.flags.writeable = False
    return found
