"""save and load: packed weights and arrays in a safetensors file, without pickle.

A file is one of safetensors (files/container.py). Its ``__metadata__`` holds, all as text:

    format               dynq_numba
    dynq_numba.version   1; another is not read
    dynq_numba.objects   JSON: of each name in order its "kind", "array" or one of files/saved_weights.py with its
                         attributes
    dynq_numba.sha256    of the header as JSON with sorted names, nothing between the tokens, no character escaped that
                         need not be, and this text empty, in UTF-8; and of the data behind it

The array ``name`` has that name, the parts of a packed weight are ``name.role``; every array belongs to one object.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .arguments import checks
from .arguments.checks import describe
from .files import container, saved_weights
from .files.container import DTYPES, METADATA, Tensor
from .operators.conv.packed import PackedConv
from .operators.embedding.packed import PackedEmbedding
from .operators.linear.packed import PackedLinear
from .operators.recurrent import saved as saved_recurrent
from .operators.recurrent.saved import describe_recurrent, restore_recurrent

FORMAT, VERSION = "dynq_numba", "1"
PREFIX = "dynq_numba."
KEYS = {"format", PREFIX + "version", PREFIX + "objects", PREFIX + "sha256"}
SHA = PREFIX + "sha256"
KINDS: dict[str, tuple[type, Any, Any]] = {
    "linear": (PackedLinear, saved_weights.describe_linear, saved_weights.restore_linear),
    "conv": (PackedConv, saved_weights.describe_conv, saved_weights.restore_conv),
    "embedding": (PackedEmbedding, saved_weights.describe_embedding, saved_weights.restore_embedding),
} | {kind: (packed, describe_recurrent, restore_recurrent) for kind, packed in saved_recurrent.TYPES.items()}
#: How a header names the types of plain arrays.
CODES = {dtype: code for code, dtype in DTYPES.items() if code != "BF16"}


def save(path: str | os.PathLike[str], objects: Mapping[str, Any]) -> None:
    """Write packed weights and arrays into one file, which any machine can read: instead of pickle, which runs code.

    Parameters
    ----------
    path : str or path
        A .safetensors file. It appears whole or not at all: an error or Ctrl-C leaves what was there before.
    objects : dict of str
        By name, `PackedLinear`, `PackedConv`, `PackedEmbedding`, `PackedLSTM`, `PackedGRU`, `PackedRNN`, or an array of
        booleans, integers, float16, float32, float64, complex64 or bfloat16. No dicts within: name things "block.0.up".

    Raises
    ------
    TypeError, ValueError
        Naming what cannot be saved, before anything is written.
    OSError
        From the file system.

    Notes
    -----
    Integers take the bits that they have (two of 4 bits share a byte), scales of groups two bytes. The format is that
    of the safetensors package, which reads the arrays in it (with complex64 among them, only recent versions);
    dynq_numba/saving.py says the rest.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(4, 6, dtype=np.float32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dq.save(f"{folder}/model.safetensors", {"up": w, "norm.weight": np.ones(6, np.float32)})
    ...     model = dq.load(f"{folder}/model.safetensors")
    >>> model["up"] == w, model["norm.weight"]
    (True, array([1., 1., 1., 1., 1., 1.], dtype=float32))
    """
    path = Path(path)
    if not isinstance(objects, Mapping):
        raise TypeError(f"objects must be a dict of packed weights and arrays; got {describe(objects)}")
    kinds, tensors = {}, {}
    for name, value in objects.items():
        kinds[name], parts = _described(name, value)
        for role, tensor in parts.items():
            full = f"{name}.{role}" if role else name
            if full in tensors or full == METADATA:
                raise ValueError(f"objects must have names that differ; {describe(full)} comes twice in the file")
            tensors[full] = tensor
    metadata = {"format": FORMAT, PREFIX + "version": VERSION, PREFIX + "objects": json.dumps(kinds), SHA: "0" * 64}
    _write(path, container.header_of(tensors, metadata), tensors)


def _described(name: Any, value: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of one of the objects, and its arrays by role."""
    if not isinstance(name, str):
        raise TypeError(f"objects must have names that are strings; got {describe(name)}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"objects must have names that UTF-8 can hold; got {describe(name)}") from None
    where = f"objects[{name!r}]"
    for kind, (packed, about, _) in KINDS.items():
        if isinstance(value, packed):
            try:
                attributes, tensors = about(value)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            return {"kind": kind} | attributes, tensors
    array = checks.plain(where, value, "a packed weight or a numpy array")
    code = "BF16" if array.dtype.name == "bfloat16" else CODES.get(array.dtype.newbyteorder("<"))
    if code is None:
        raise TypeError(f"{where} must be an array of booleans, integers, floats or complex64; got {describe(array)}")
    if array.ndim > container.MOST_AXES:
        raise ValueError(f"{where} must have at most {container.MOST_AXES} axes; got {array.ndim}")
    bits = array.view(np.uint16) if code == "BF16" else array
    return {"kind": "array"}, {"": saved_weights.given(code, bits)}


def _canonical(header: dict[str, Any]) -> bytes:
    """What the checksum covers of the header."""
    bare = header | {METADATA: header[METADATA] | {SHA: ""}}
    return json.dumps(bare, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _write(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Beside it, under another name, then in one step in its place."""
    path = Path(os.path.realpath(path))  # a link stays one
    before = path.stat() if path.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
        raise ValueError(f"path must be that of a file; {path} is something else")
    start, digest = container.encoded(header), hashlib.sha256(_canonical(header))
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


def load(path: str | os.PathLike[str], *, verify: bool = True) -> dict[str, Any]:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path
        A file of `save`, or any other .safetensors file: then all arrays in it, by name.
    verify : bool
        Read the whole file and compare its checksum. Without, a damaged value goes unnoticed; all else is checked
        either way. Other files have no checksum.

    Returns
    -------
    dict of str
        In the order of `save`. Arrays are read-only views of the file's memory map (copies where they are not aligned,
        which `save` avoids): they take no memory of their own, and must not be truncated by others meanwhile. Replacing
        the file, as `save` does, leaves them as they are.

    Raises
    ------
    ValueError
        When the file is malformed, damaged, or of an unknown version or kind, with its path and what is wrong. No file
        makes this function run code, or take more memory than in proportion to its size.
    OSError
        From the file system.
    MemoryError
        When there is no room to map it.

    Notes
    -----
    Exact: each weight has the integers and scales that were saved. Source: the safetensors format.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> table = dq.pack_embedding(np.arange(12.0).reshape(4, 3), bits=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dq.save(f"{folder}/table.safetensors", {"table": table})
    ...     dq.load(f"{folder}/table.safetensors")["table"] == table
    True
    """
    if not isinstance(verify, (bool, np.bool_)):
        raise TypeError(f"verify must be True or False; got {describe(verify)}")
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{os.fspath(path)}: this is no file, but a device, pipe or socket")
        size = os.fstat(file.fileno()).st_size
        content = _mapped(file, size)
    try:
        return _loaded(content, bool(verify))
    except RecursionError:
        raise ValueError(f"{os.fspath(path)}: its header is nested too deep") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _mapped(file: BinaryIO, size: int) -> Any:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError(f"{file.name}: no memory to map its {size} bytes") from None
        raise


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # nobody may be at a pipe's other end


def _loaded(content: Any, verify: bool) -> dict[str, Any]:
    header, start = container.read(content)
    metadata = header[METADATA]
    if metadata.get("format") != FORMAT and not any(key.startswith(PREFIX) for key in metadata):
        return {name: _plain(header, name, content, start) for name in header if name != METADATA}
    if set(metadata) != KEYS or metadata["format"] != FORMAT:
        raise ValueError(f"{METADATA} must hold {', '.join(sorted(KEYS))}; got {describe(metadata)}")
    if metadata[PREFIX + "version"] != VERSION:
        raise ValueError(f"this is version {describe(metadata[PREFIX + 'version'])}; known is {VERSION}")
    if verify:
        _verify(header, content, start)
    try:
        objects = container.parsed(metadata[PREFIX + "objects"])
    except ValueError as error:
        raise ValueError(f"{PREFIX}objects is damaged: {error}") from None
    if type(objects) is not dict:
        raise ValueError(f"{PREFIX}objects must hold objects by name; got {describe(objects)}")
    left = set(header) - {METADATA}
    found = {name: _restored(name, about, header, left, content, start) for name, about in objects.items()}
    if left:
        raise ValueError(f"no object has the arrays {describe(sorted(left))}")
    return found


def _verify(header: dict[str, Any], content: Any, start: int) -> None:
    digest = hashlib.sha256(_canonical(header))
    for part in _parts(content, start):
        digest.update(part)
    if digest.hexdigest() != header[METADATA][SHA]:
        raise ValueError("its checksum does not fit: the file is damaged")


def _parts(content: Any, start: int) -> Iterable[bytes]:
    for begin in range(start, len(content), container.CHUNK):
        yield content[begin : begin + container.CHUNK]


def _plain(header: dict[str, Any], name: str, content: Any, start: int) -> np.ndarray:
    array = container.array(header, name, content, start)
    if header[name]["dtype"] != "BF16":
        return array
    try:
        import ml_dtypes
    except ImportError:
        raise ValueError(f"{describe(name)} is bfloat16, which numpy gets from the package ml_dtypes") from None
    return array.view(ml_dtypes.bfloat16)


def _restored(name: str, about: Any, header: dict[str, Any], left: set[str], content: Any, start: int) -> Any:
    """One of the objects; the names of its arrays are taken out of `left`."""
    kind = about.get("kind") if type(about) is dict else None
    if type(kind) is not str or kind not in ("array", *KINDS):
        raise ValueError(f"{describe(name)} has kind {describe(kind)}; known are array, {', '.join(KINDS)}")

    def taken(full: str) -> str:
        if full not in left:
            raise ValueError(f"there is no array {describe(full)}, or two objects have it")
        left.remove(full)
        return full

    if kind == "array":
        if set(about) != {"kind"}:
            raise ValueError(f"{describe(name)}, an array, must have no attributes; got {describe(about)}")
        return _plain(header, taken(name), content, start)

    def take(role: str, code: str, shape: tuple[int, ...]) -> np.ndarray:
        entry = header[taken(f"{name}.{role}")]
        if (entry["dtype"], entry["shape"]) != (code, list(shape)):
            raise ValueError(f"{role} must be {code} {list(shape)}; got {entry['dtype']} {describe(entry['shape'])}")
        return container.array(header, f"{name}.{role}", content, start)

    try:
        return KINDS[kind][2](about, take)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{describe(name)}: {error}") from None
