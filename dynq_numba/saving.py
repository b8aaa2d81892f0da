"""save: packed weights and arrays in a safetensors file, without pickle (reading.py loads it).

A file is one of safetensors (files/container.py). Its ``__metadata__`` holds, all as text:

    format               dynq_numba
    dynq_numba.version   1; another is not read
    dynq_numba.objects   JSON: of each name in order its "kind", with the attributes that files/fields.py lists,
                             or
                             array
                             list, tuple    items: what is in it
                             dict           items: what is in it, by name
                             chain          steps: by name, the class of dq.step as "step" and its fields; returns
    dynq_numba.sha256    of the header as JSON with sorted names, nothing between the tokens, no character escaped that
                         need not be, and this text empty, in UTF-8; and of the data behind it
    anything else        the user's own text, not beginning with "dynq_numba."

The array ``name`` has that name, the parts of a packed weight are ``name.role``, what a list or dict holds is called
``name.0`` or ``name.key``, a field of a chain's step ``name.step.field``; every array belongs to one object.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import checks
from .arguments.checks import describe
from .files import container
from .files.container import DTYPES, METADATA, Tensor, joined
from .files.fields import Described, given
from .operators import ALL
from .operators.base import SavedForm
from .operators.chain.api import Chain

FORMAT, VERSION = "dynq_numba", "1"
PREFIX = "dynq_numba."
KEYS = {"format", PREFIX + "version", PREFIX + "objects", PREFIX + "sha256"}
SHA = PREFIX + "sha256"
KINDS: dict[str, SavedForm] = {kind: form for operator in ALL for kind, form in operator.saved.items()}
#: How a header names the types of plain arrays.
CODES = {dtype: code for code, dtype in DTYPES.items() if code != "BF16"}



def save(
    path: str | os.PathLike[str], objects: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write packed weights and arrays into one file that any machine can read. Unlike a pickle, it runs no code.

    Parameters
    ----------
    path : str or path
        A .safetensors file. It is written completely or not at all: after an error or Ctrl-C the old file is still
        there.
    objects : dict of str
        By name: `PackedLinear`, `PackedConv`, `PackedEmbedding`, `PackedLSTM`, `PackedGRU`, `PackedRNN`, `Chain`, or an
        array of booleans, integers, float16, float32, float64, complex64 or bfloat16. Or a list, tuple or dict of
        these, nested to any depth.
    metadata : dict of str to str, optional
        Text such as the model's name and version. `inspect` shows it. Names that begin with "dynq_numba." and the name
        "format" are reserved.

    Raises
    ------
    TypeError, ValueError
        Names what cannot be saved. Raised before anything is written.
    OSError
        From the file system.

    Notes
    -----
    Integers of 4 bits share a byte in pairs, and scales of groups take two bytes. The format is that of the safetensors
    package, which can read the arrays (complex64 only in recent versions). dynq_numba/saving.py describes the rest.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(4, 6, dtype=np.float32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/model.safetensors"
    ...     dq.save(path, {"layers": [w, w], "norm": {"weight": np.ones(6, np.float32)}}, metadata={"model": "tiny"})
    ...     model, about = dq.load(path), dq.inspect(path)
    >>> model["layers"][1] == w, model["norm"]["weight"]
    (True, array([1., 1., 1., 1., 1., 1.], dtype=float32))
    >>> about.metadata
    {'model': 'tiny'}
    """
    path = Path(path)
    if not isinstance(objects, Mapping):
        raise TypeError(f"objects must be a dict of packed weights and arrays; got {describe(objects)}")
    own = _checked_metadata(metadata)
    try:
        kinds, tensors = _items("objects", objects.items())
        text = json.dumps(kinds)
    except RecursionError:
        raise ValueError("objects are nested too deep, or hold themselves") from None
    known = {"format": FORMAT, PREFIX + "version": VERSION, PREFIX + "objects": text, SHA: "0" * 64}
    _write(path, container.header_of(tensors, own | known), tensors)


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict of strings; got {describe(metadata)}")
    for name, text in metadata.items():
        _checked_name("metadata", name)
        if not isinstance(text, str):
            raise TypeError(f"metadata[{name!r}] must be a string; got {describe(text)}")
        _encodable(f"metadata[{name!r}] must be a string", text)
        if name == "format" or name.startswith(PREFIX):
            raise ValueError(f'metadata must not have "format" or names that begin with "{PREFIX}"; got {name!r}')
    return {str(name): str(text) for name, text in metadata.items()}


def _checked_name(where: str, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{where} must have names that are strings; got {describe(name)}")
    _encodable(f"{where} must have names", name)


def _encodable(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} that UTF-8 can hold; got {describe(text)}") from None


def _items(where: str, items: Iterable[tuple[Any, Any]]) -> Described:
    """What a file says of each of these by name, and the arrays of all."""
    kinds, tensors = {}, {}
    for name, value in items:
        _checked_name(where, name)
        kinds[name], parts = _described(f"{where}[{name!r}]", value)
        for role, tensor in parts.items():
            full = joined(name, role)
            if full in tensors or full == METADATA:
                raise ValueError(f"{where} must have names that differ; {describe(full)} comes twice in the file")
            tensors[full] = tensor
    return kinds, tensors


def _described(where: str, value: Any) -> Described:
    """What a file says of an object, and its arrays by role."""
    for kind, (packed, about, _) in KINDS.items():
        if isinstance(value, packed):
            try:
                attributes, tensors = about(value)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            return {"kind": kind} | attributes, tensors
    if type(value) in (list, tuple):
        kinds, tensors = _items(where, ((str(i), each) for i, each in enumerate(value)))
        return {"kind": type(value).__name__, "items": list(kinds.values())}, tensors
    if isinstance(value, Mapping):
        kinds, tensors = _items(where, value.items())
        return {"kind": "dict", "items": kinds}, tensors
    if isinstance(value, Chain):
        return _described_chain(where, value)
    array = checks.plain(where, value, "a packed weight, a numpy array, or a list or dict of them")
    code = "BF16" if array.dtype.name == "bfloat16" else CODES.get(array.dtype.newbyteorder("<"))
    if code is None:
        raise TypeError(f"{where} must be an array of booleans, integers, floats or complex64; got {describe(array)}")
    if array.ndim > container.MOST_AXES:
        raise ValueError(f"{where} must have at most {container.MOST_AXES} axes; got {array.ndim}")
    bits = array.view(np.uint16) if code == "BF16" else array
    return {"kind": "array"}, {"": given(code, bits)}


def _described_chain(where: str, chain: Chain) -> Described:
    """Of each step its class and fields; arrays and weights among them like those of a dict."""
    _, (steps, returns) = chain.__reduce__()
    about: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, each in steps.items():
        values = {field.name: getattr(each, field.name) for field in fields(each)}
        held = {key: value for key, value in values.items() if not isinstance(value, (str, float, type(None)))}
        kinds, parts = _items(f"{where}[{name!r}]", held.items())
        about[name] = {"step": type(each).__name__} | values | kinds
        tensors |= {joined(name, role): tensor for role, tensor in parts.items()}
    return {"kind": "chain", "steps": about, "returns": returns}, tensors


def canonical(header: dict[str, Any]) -> bytes:
    """What the checksum covers of the header."""
    bare = header | {METADATA: header[METADATA] | {SHA: ""}}
    return json.dumps(bare, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _write(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Beside it, under another name, then in one step in its place."""
    path = Path(os.path.realpath(path))  # a link stays one
    before = path.stat() if path.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
        raise ValueError(f"path must be that of a file; {path} is something else")
    start, digest = container.encoded(header), hashlib.sha256(canonical(header))
    temporary = path.with_name(f".dynq-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if before is not None:
                temporary.chmod(stat.S_IMODE(before.st_mode))
            file.write(start)
            for part in container.data_of(header, tensors):
                digest.update(part)
                file.write(part)
            header[METADATA][SHA] = digest.hexdigest()
            file.seek(0)
            file.write(container.encoded(header))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # it may not be there yet, or no more
            os.unlink(temporary)
        raise
