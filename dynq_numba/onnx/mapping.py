"""Files of weights: looked at before they are used, mapped, and no longer in memory than they are needed.

External data is in files of the model's own folder, or of folders in it. Links could lead out of there.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir

from ..files.pages import Pages, release
from .wire import LARGE, data_of

#: Where weights begin in a file that is written: pages.
ALIGNMENT = 4096


class Maps:
    """The files that a model's weights lie in, each mapped once.

    Parameters
    ----------
    data : bytes or mmap
        What the model itself was read from.
    folder : Path, optional
        Of the model's file; None where it has none.

    Attributes
    ----------
    beside : int
        Bytes of the files beside the model, as far as they have been looked at.
    """

    def __init__(self, data: bytes | mmap.mmap, folder: Path | None) -> None:
        self.beside = 0
        self._folder = folder
        self._own = np.frombuffer(data, np.uint8)
        self._maps: dict[str, np.ndarray] = {}
        self._opened: list[mmap.mmap] = [data] if isinstance(data, mmap.mmap) else []

    def inside(self, tensor: ir.ExternalTensor) -> ir.TensorProtocol:
        """A tensor of the model's own file."""
        return _tensor(tensor, self._own, "the model")

    def outside(self, tensor: ir.ExternalTensor, folder: Path | None = None) -> ir.TensorProtocol:
        """A tensor of a file beside it, whose place must be one that a model may name."""
        folder = self._folder if folder is None else folder
        if folder is None:
            raise ValueError(f"tensor {tensor.name!r} has data in another file: give the model as a path")
        path = _place(tensor, folder)
        if str(path) not in self._maps:
            found, size = _mapped(path)
            self._maps[str(path)] = np.frombuffer(found, np.uint8) if found else np.zeros(0, np.uint8)
            self._opened += [found] if found else []
            self.beside += size
        return _tensor(tensor, self._maps[str(path)], str(path))

    def of_its_folder(self, tensor: ir.ExternalTensor) -> ir.TensorProtocol:
        """A tensor of a file beside the model that it was made for."""
        return self.outside(tensor, Path(tensor.base_dir))

    def release(self) -> None:
        """Let pages go that have been read: the system reads them again where they are wanted."""
        for each in self._opened:
            release(np.frombuffer(each, np.uint8))


def map_file(path: Path) -> Pages | bytes:
    """The bytes of a file: mapped, where it is one that can be."""
    found, _ = _mapped(path)
    return b"" if found is None else found


def _place(tensor: ir.ExternalTensor, folder: Path) -> Path:
    location = os.fspath(tensor.location)
    given, name = Path(location), f"tensor {tensor.name!r}"
    if "\0" in location or given.is_absolute() or ".." in given.parts or given == Path():
        raise ValueError(f"{name}: its data must be in a file of the model's folder; got {location!r}")
    place = folder
    for part in given.parts:
        place = place / part
        if place.is_symlink():
            raise ValueError(f"{name}: its data must be in a file; got {place}, which is a link: copy what it leads to")
    if not place.is_file():
        there = "is no file" if place.exists() else "does not exist"
        raise ValueError(f"{name}: its data must be in a file; {place} {there}")
    return place


def _mapped(path: Path) -> tuple[Pages | None, int]:
    """A file's pages, and their bytes; None where it has none."""
    # a pipe would wait for who writes to it
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} must be a file; it is none")
        size = found.st_size
        return (Pages(handle, size, access=mmap.ACCESS_READ) if size else None), size
    finally:
        os.close(handle)


def _tensor(tensor: ir.ExternalTensor, data: np.ndarray, place: str) -> ir.TensorProtocol:
    """The tensor as an array over these bytes; not aligned where its offset is not."""
    begin, size, name = tensor.offset or 0, tensor.nbytes, f"tensor {tensor.name!r}"
    if tensor.length is not None and tensor.length != size:
        shape = tensor.shape.numpy()
        raise ValueError(f"{name} of {tensor.dtype} and shape {shape} has {size} bytes; got length={tensor.length}")
    if begin < 0 or begin + size > len(data):
        raise ValueError(f"{name} is to be bytes {begin} to {begin + size} of {place}, which has {len(data)}")
    part, kind, shape = data[begin : begin + size], tensor.dtype, tensor.shape.numpy()
    made = _of_bytes(part, kind, shape, tensor.name)
    made.doc_string = tensor.doc_string
    made.metadata_props.update(tensor.metadata_props)
    return made


def _of_bytes(part: np.ndarray, kind: ir.DataType, shape: Sequence[int], name: str | None) -> ir.TensorProtocol:
    if kind.bitwidth < 8:
        return ir.PackedTensor(part, kind, shape=shape, name=name)
    return ir.Tensor(part.view(kind.numpy()).reshape(shape), kind, name=name)


class Spill:
    """Arrays in a file without a name, which goes when the last of them goes.

    Parameters
    ----------
    file : binary file
        To read and write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def keep(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """The tensor as an array of the file, if it is large."""
        if tensor.nbytes < LARGE:
            return tensor
        data = data_of(tensor)
        begin = -(-self._file.seek(0, os.SEEK_END) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(begin)
        self._file.write(data)
        self._file.flush()
        found = Pages(self._file.fileno(), len(data), access=mmap.ACCESS_READ, offset=begin)
        return _of_bytes(np.frombuffer(found, np.uint8), tensor.dtype, tensor.shape.numpy(), tensor.name)
