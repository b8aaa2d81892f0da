"""inspect: what a file holds, without loading it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .arguments.checks import describe
from .files import container
from .files.container import METADATA, joined
from .operators.linear.schemes import scheme_name
from .reading import objects_of, read
from .saving import FORMAT, KEYS, PREFIX
from .tables import table


@dataclass(frozen=True)
class Entry:
    """One object of a file.

    Attributes
    ----------
    name : str
        In a list or dict, "name.0" or "name.key"; for a step of a chain, "name.step".
    kind : str
        "array", "linear", "conv", "embedding", "lstm", "gru", "rnn"; for a chain's step its class in lower case.
    shape : tuple of int
        Empty if it has none.
    about : str
        An array's type; a weight's scheme and what else it was packed with.
    nbytes : int
        Bytes in the file.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    about: str
    nbytes: int


@dataclass(frozen=True)
class Contents:
    """What `inspect` found; its ``str`` is a table.

    Attributes
    ----------
    path : str
    format : str
        "dynq_numba 1" for a file of `save`, else "safetensors".
    nbytes : int
        Bytes of the file.
    metadata : dict of str to str
        The metadata given to `save`.
    entries : tuple of Entry
    """

    path: str
    format: str
    nbytes: int
    metadata: dict[str, str]
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        rows = [(e.name, e.kind, "×".join(map(str, e.shape)), e.about, f"{e.nbytes:,}") for e in self.entries]
        lines = [f"{self.path}: {self.format}, {self.nbytes:,} bytes"]
        lines += [f"  {name}: {text}" for name, text in self.metadata.items()]
        return "\n".join([*lines, *([table(("name", "kind", "shape", "", "bytes"), rows, "LllLr")] if rows else [])])


def inspect(path: str | os.PathLike[str]) -> Contents:
    """Say what a .safetensors file holds. Only its header is read; `load` compares the checksum.

    Parameters
    ----------
    path : str or path
        A file of `save`, or any other .safetensors file.

    Returns
    -------
    Contents
        Its `metadata`, and in `entries` the `name`, `kind`, `shape`, `about` and `nbytes` of every object. You can
        print it.

    Raises
    ------
    ValueError
        If it is no safetensors file or its header is damaged. Names the path and what is wrong.
    OSError
        From the file system.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(4, 64, dtype=np.float32), bits=4)
    >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
    ...     dq.save(file.name, {"layers": [w, w], "norm": np.ones(6, np.float32)})
    ...     about = dq.inspect(file.name)
    >>> for entry in about.entries:
    ...     print(entry.name, entry.kind, entry.shape, entry.about, entry.nbytes)
    layers.0 linear (4, 64) int4_per_tensor 132
    layers.1 linear (4, 64) int4_per_tensor 132
    norm array (6,) F32 24
    """
    return read(path, lambda content: _contents(os.fspath(path), content))


def _contents(path: str, content: Any) -> Contents:
    header, _ = container.read(content)
    objects = objects_of(header)
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != METADATA}
    sizes = {name: end - begin for name, (begin, end) in places.items()}
    if objects is None:
        entries = [_entry(name, {"kind": "array"}, header, sizes) for name in sizes]
        return Contents(path, "safetensors", len(content), header[METADATA], tuple(entries))
    own = {name: text for name, text in header[METADATA].items() if name not in KEYS}
    entries = [entry for name, about in objects.items() for entry in _entries(name, about, header, sizes)]
    version = header[METADATA][PREFIX + "version"]
    return Contents(path, f"{FORMAT} {version}", len(content), own, tuple(entries))


def _entries(name: str, about: Any, header: dict[str, Any], sizes: dict[str, int]) -> Iterator[Entry]:
    """An object's entry, or those of what it holds."""
    if type(about) is not dict or type(about.get("kind")) is not str:
        raise ValueError(f"{describe(name)} has no kind; got {describe(about)}")
    parts = about.get("steps" if about["kind"] == "chain" else "items")
    if type(parts) is list:
        parts = {str(i): each for i, each in enumerate(parts)}
    if type(parts) is not dict:
        yield _entry(name, about, header, sizes)
    elif about["kind"] == "chain":
        for key, each in parts.items():
            yield _step(joined(name, key), each, sizes)
    else:
        for key, each in parts.items():
            yield from _entries(joined(name, key), each, header, sizes)


def _entry(name: str, about: dict[str, Any], header: dict[str, Any], sizes: dict[str, int]) -> Entry:
    kind = about["kind"]
    if kind == "array":
        if name not in sizes:
            raise ValueError(f"there is no array {describe(name)}")
        return Entry(name, kind, tuple(header[name]["shape"]), header[name]["dtype"], sizes[name])
    shape = about.get("shape", ())
    if not isinstance(shape, (list, tuple)):
        raise ValueError(f"{describe(name)}: shape must be sizes; got {describe(shape)}")
    return Entry(name, kind, tuple(shape), _about(about), _size(name, sizes))


def _step(name: str, about: Any, sizes: dict[str, int]) -> Entry:
    if type(about) is not dict or type(about.get("step")) is not str:
        raise ValueError(f"{describe(name)} is no step; got {describe(about)}")
    weight = about.get("w")
    packed = weight if type(weight) is dict else {}
    shape = packed.get("shape", ())
    text = _about(packed | {key: value for key, value in about.items() if type(value) is not dict and key != "step"})
    return Entry(name, about["step"].lower(), tuple(shape) if type(shape) is list else (), text, _size(name, sizes))


def _size(name: str, sizes: dict[str, int]) -> int:
    return sum(size for each, size in sizes.items() if each.startswith(f"{name}."))


def _about(about: dict[str, Any]) -> str:
    """Attributes in words: the scheme as one, the rest but what is the default."""
    rest = {key: value for key, value in about.items() if key not in ("kind", "shape", "weights", "symmetric")}
    words = []
    if {"bits", "granularity", "group_size"} <= set(rest):
        bits, granularity, size = (rest.pop(key) for key in ("bits", "granularity", "group_size"))
        words.append(scheme_name(bits, granularity, size, bool(about.get("symmetric", True))))
    usual: tuple[Any, ...] = (None, False, [], 0, "per_token", "forward")
    words += [key if value is True else f"{key}={value}" for key, value in rest.items() if value not in usual]
    return ", ".join(words)
