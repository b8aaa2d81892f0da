"""load: read a file of `save`, or any other safetensors file (saving.py describes the format).

A file may be damaged or forged: see files/container.py and files/fields.py.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, BinaryIO, TypeVar

import numpy as np

from .arguments.checks import boolean, describe
from .files import container
from .files.container import METADATA, joined
from .operators.chain import step
from .operators.chain.api import Chain
from .saving import FORMAT, KEYS, KINDS, PREFIX, SHA, VERSION, canonical

T = TypeVar("T")
#: What a chain is made of, by its name in a file.
STEPS = {each.__name__: each for each in (step.Linear, step.LayerNorm, step.RMSNorm, step.SwiGLU)}


def load(path: str | os.PathLike[str], *, verify: bool = True) -> dict[str, Any]:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path
        A file of `save`. Or any other .safetensors file: then all its arrays are returned by name.
    verify : bool
        Read the whole file and compare its checksum. If False, a damaged value is not noticed; everything else is
        always checked. Files of other programs have no checksum.

    Returns
    -------
    dict of str
        In the order of `save`. Arrays are read-only views of the file's memory map (copies if they are not aligned;
        those of `save` are). They take no memory of their own. No other program may truncate the file meanwhile.
        Replacing the file, as `save` does, does not change them.

    Raises
    ------
    ValueError
        If the file is malformed, damaged, or of an unknown version or kind. Names the path and what is wrong. No file
        can make this function run code, or use much more memory than the file's size.
    OSError
        From the file system.
    MemoryError
        If there is too little memory to map it.

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
    verify = boolean("verify", verify)
    return read(path, lambda content: _loaded(content, verify))


def read(path: str | os.PathLike[str], use: Callable[[Any], T]) -> T:
    """Call `use` on a file's bytes. The path is put in front of a ValueError."""
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{os.fspath(path)}: this is not a file, but a device, pipe or socket")
        size = os.fstat(file.fileno()).st_size
        content = _mapped(file, size)
    try:
        return use(content)
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
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe may have no writer


def _loaded(content: Any, verify: bool) -> dict[str, Any]:
    header, start = container.read(content)
    objects = objects_of(header)
    if objects is None:
        return {name: _plain(header, name, content, start) for name in header if name != METADATA}
    if verify:
        _verify(header, content, start)
    left = set(header) - {METADATA}
    file = _File(header, left, content, start)
    found = {name: file.restored(name, about) for name, about in objects.items()}
    if left:
        raise ValueError(f"no object has the arrays {describe(sorted(left))}")
    return found


def objects_of(header: dict[str, Any]) -> dict[str, Any] | None:
    """The header's description of each object; None if the file is not one of ours."""
    metadata = header[METADATA]
    ours = {key for key in metadata if key.startswith(PREFIX)}
    if metadata.get("format") != FORMAT and not ours:
        return None
    if not KEYS <= set(metadata) or ours - KEYS or metadata["format"] != FORMAT:
        raise ValueError(f"{METADATA} must hold {', '.join(sorted(KEYS))}; got {describe(metadata)}")
    if metadata[PREFIX + "version"] != VERSION:
        raise ValueError(f"this is version {describe(metadata[PREFIX + 'version'])}; known is {VERSION}")
    try:
        objects = container.parsed(metadata[PREFIX + "objects"])
    except ValueError as error:
        raise ValueError(f"{PREFIX}objects is damaged: {error}") from None
    if type(objects) is not dict:
        raise ValueError(f"{PREFIX}objects must hold objects by name; got {describe(objects)}")
    return objects


def _verify(header: dict[str, Any], content: Any, start: int) -> None:
    digest = hashlib.sha256(canonical(header))
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


class _File:
    """A file's header and bytes, and the names of arrays that no object has used yet."""

    def __init__(self, header: dict[str, Any], left: set[str], content: Any, start: int):
        self.header, self.left, self.content, self.start = header, left, content, start

    def restored(self, name: str, about: Any) -> Any:
        """An object; the names of its arrays are taken out of `left`."""
        kind = about.get("kind") if type(about) is dict else None
        known = ("array", "list", "tuple", "dict", "chain", *KINDS)
        if type(kind) is not str or kind not in known:
            raise ValueError(f"{describe(name)} has kind {describe(kind)}; known are {', '.join(known)}")
        if kind == "array":
            _attributes(name, about)
            return _plain(self.header, self._taken(name), self.content, self.start)
        if kind in ("list", "tuple", "dict"):
            return self._container(name, kind, *_attributes(name, about, "items"))
        if kind == "chain":
            return self._chain(name, *_attributes(name, about, "steps", "returns"))
        with _named(name):
            return KINDS[kind][2](about, lambda role, code, shape: self._take(joined(name, role), role, code, shape))

    def _taken(self, full: str) -> str:
        if full not in self.left:
            raise ValueError(f"there is no array {describe(full)}, or two objects have it")
        self.left.remove(full)
        return full

    def _take(self, full: str, role: str, code: str, shape: tuple[int, ...]) -> np.ndarray:
        entry = self.header[self._taken(full)]
        if (entry["dtype"], entry["shape"]) != (code, list(shape)):
            raise ValueError(f"{role} must be {code} {list(shape)}; got {entry['dtype']} {describe(entry['shape'])}")
        return container.array(self.header, full, self.content, self.start)

    def _container(self, name: str, kind: str, items: Any) -> Any:
        if type(items) is not (dict if kind == "dict" else list):
            what = f"a {'dict' if kind == 'dict' else 'list'} of items"
            raise ValueError(f"{describe(name)}, of kind {kind}, must have {what}; got {describe(items)}")
        if isinstance(items, dict):
            return {key: self.restored(joined(name, key), each) for key, each in items.items()}
        found = [self.restored(joined(name, str(i)), each) for i, each in enumerate(items)]
        return found if kind == "list" else tuple(found)

    def _chain(self, name: str, steps: Any, returns: Any) -> Chain:
        if type(steps) is not dict or type(returns) not in (str, list):
            raise ValueError(f"{describe(name)}, a chain, must have steps by name and what it returns")
        made = {key: self._step(joined(name, key), about) for key, about in steps.items()}
        with _named(name):
            return Chain(made, returns)

    def _step(self, name: str, about: Any) -> Any:
        kind = about.get("step") if type(about) is dict else None
        if type(kind) is not str or kind not in STEPS:
            raise ValueError(f"{describe(name)} is step {describe(kind)}; known are {', '.join(STEPS)}")
        names = {field.name for field in fields(STEPS[kind])}
        if set(about) != {"step", *names}:
            raise ValueError(f"{describe(name)}, a {kind}, must have {', '.join(sorted(names))}; got {describe(about)}")
        values = {
            key: self.restored(joined(name, key), value) if type(value) is dict else value
            for key, value in about.items() if key != "step"
        }  # fmt: skip
        return STEPS[kind](**values)


def _attributes(name: str, about: dict[str, Any], *names: str) -> list[Any]:
    if set(about) != {"kind", *names}:
        what = " and ".join(names) or "no attributes"
        raise ValueError(f"{describe(name)}, of kind {about['kind']}, must have {what}; got {describe(about)}")
    return [about[each] for each in names]


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put `name` in front of a ValueError inside."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{describe(name)}: {error}") from None
