"""ONNX files: read in any form, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import onnx_ir as ir

from ..arguments import checks
from ..files.container import ONNX, looks_like
from ..files.pages import release
from ..graph.canonical import RUNTIME
from ..graph.constants import NodeError
from ..graph.model import SMALL_BYTES
from ..graph.quantizer import Keep
from . import wire
from .mapping import ALIGNMENT, Maps, Spill, map_file
from .validity import check, nested

#: Weights beyond this lie in a file beside the model: protobuf ends at 2 GB.
MOST_INSIDE = 1_800_000_000
#: Bytes of a model from which on its weights are mapped where they are; smaller ones are read.
MAPPED = 1 << 24
#: Bytes of a model's weights from which on those of its artifact wait on disk until they are written.
SPILLED = 1 << 28
#: Characters of what the checker says is wrong.
_LONGEST = 400
#: Of a model that was read, in its `meta`: the files that its weights lie in.
_MAPS = "dynq.maps"
#: What finds an external tensor.
Found = Callable[[ir.ExternalTensor], ir.TensorProtocol]


def called(model: Any, argument: str) -> str:
    """What errors call a model: its path, else the argument that it was given as."""
    return str(model) if isinstance(model, (str, PathLike)) else argument


def read(model: Any, argument: str = "model") -> ir.Model:
    """A model from a path, bytes, ModelProto or onnx_ir.Model, of which the last two are copied.

    Weights of files stay in these: they are mapped.

    Raises
    ------
    TypeError, ValueError
        Where it is something else, or no ONNX model.
    OSError
        From reading the file.
    """
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
        return _valid(argument, lambda: _read(data, None))
    if isinstance(model, onnx.ModelProto):
        return _valid(argument, lambda: _read(model.SerializeToString(), None))
    if isinstance(model, ir.Model):
        return _valid(argument, lambda: _copied(model))
    if not isinstance(model, (str, PathLike)):
        raise TypeError(
            f"{argument} must be a path, bytes, onnx.ModelProto or onnx_ir.Model; got {checks.describe(model)}"
        )
    path = Path(model)
    path.open("rb").close()  # an error of the system's, if it cannot be read
    return _valid(str(path), lambda: _read(map_file(path), path.parent))


def digest(model: Any) -> str:
    """The sha256 of what `read` takes."""
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString(deterministic=True)
    if isinstance(model, ir.Model):
        found = hashlib.sha256()
        for part in wire.parts(_placed(model.clone(), Maps(b"", None).of_its_folder)):
            found.update(part)
        return found.hexdigest()
    if isinstance(model, (bytes, bytearray, memoryview)):
        return hashlib.sha256(model).hexdigest()
    with Path(model).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nbytes(model: Any, read: ir.Model) -> int | None:
    """Bytes of the file that a model was `read` from, with those of weights beside it; None where there is no file."""
    if isinstance(model, (str, PathLike)):
        return Path(model).stat().st_size + int(read.meta[_MAPS].beside)
    return len(memoryview(model).cast("B")) if isinstance(model, (bytes, bytearray, memoryview)) else None


def pages_of(model: ir.Model) -> Maps:
    """The files that the weights of a model that was read lie in."""
    found: Maps = model.meta[_MAPS]
    return found


@contextmanager
def clear_errors(name: str, theirs: Sequence[Exception] = ()) -> Iterator[None]:
    """Let whatever a damaged model breaks be one kind of error, which names it. What callers' functions raise stays."""
    try:
        yield
    except NodeError as error:
        raise ValueError(f"{name}: {error}") from error
    except (ValueError, OSError, MemoryError):
        raise  # with a message of ours
    except RecursionError as error:
        raise ValueError(f"{name} is no valid ONNX model: it is nested too deeply") from error
    except Exception as error:  # what the checker lets through can break a rewrite in any way
        if any(error is each for each in theirs):
            raise
        raise ValueError(f"{name} is no valid ONNX model: {type(error).__name__}: {error}") from error


def _valid(name: str, source: Callable[[], ir.Model]) -> ir.Model:
    """The model, once nothing is against it."""
    try:
        return source()
    except MemoryError:
        raise
    except Exception as error:  # protobuf, the checker and onnx_ir have kinds of their own
        told = " ".join(str(error).replace("\n\n==> Context:", ";").split())  # the checker's are of several lines
        reason = textwrap.shorten(told, _LONGEST, placeholder=" …") or type(error).__name__
        raise ValueError(f"{name} is no valid ONNX model: {reason}") from error


def _read(data: Any, folder: Path | None) -> ir.Model:
    """The model in bytes, or in a file that is mapped."""
    inside = wire.small(memoryview(data)) if len(data) >= MAPPED else bytes(data)
    maps = Maps(data, folder)

    def found(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
        return maps.inside(tensor) if tensor.location == wire.INSIDE else maps.outside(tensor)

    return _model(_parsed(inside), maps, found)


def _parsed(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.ModelProto.FromString(data)
    except MemoryError:
        raise
    except Exception as error:  # protobuf's own kind
        looks = "" if data.startswith(ONNX) else looks_like(data[:32])
        raise ValueError(f"it is no ONNX file{looks}" if looks else "it is cut off or damaged") from error


def _copied(model: ir.Model) -> ir.Model:
    maps = Maps(b"", None)
    proto, large = wire.taken_apart(_placed(model.clone(), maps.of_its_folder))
    return _model(proto, maps, lambda tensor: large[tensor.offset or 0])


def _model(proto: onnx.ModelProto, maps: Maps, found: Found) -> ir.Model:
    """The model that protobuf has read, once nothing is against it, with weights as arrays where they are."""
    _move(proto)
    check(proto)
    model = _placed(ir.from_proto(proto), found)
    model.meta[_MAPS] = maps
    return model


def _move(proto: onnx.ModelProto) -> None:
    """Put operators of ONNX Runtime in its domain that it writes without one."""
    moved = False
    for body in nested(proto.graph):
        for node in body.node:
            if node.op_type == "SimplifiedLayerNormalization" and not node.domain:
                node.domain, moved = RUNTIME, True
    if moved and not any(each.domain == RUNTIME for each in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid(RUNTIME, 1))


def _placed(model: ir.Model, found: Found) -> ir.Model:
    """With what is found for each external tensor in its place, so that it goes wherever the model goes."""

    def placed(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        return found(tensor) if isinstance(tensor, ir.ExternalTensor) else tensor

    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = placed(value.const_value)
        _place_attributes(graph, placed)
    for function in model.functions.values():
        _place_attributes(function, placed)
    return model


def _place_attributes(nodes: Iterable[ir.Node], placed: Callable[[ir.TensorProtocol], ir.TensorProtocol]) -> None:
    for node in nodes:
        for attribute in list(node.attributes.values()):
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                node.attributes[attribute.name] = ir.AttrTensor(attribute.name, placed(attribute.as_tensor()))


def check_place(path: str | PathLike[str], name: str = "out") -> None:
    """Raise OSError where a file cannot be written, before the work and not after it. Devices are not replaced."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{name} must be a file; got the folder {path}")
    if path.exists() and not path.is_file():
        raise OSError(f"{name} must be a file, which is replaced; got {path}, which is none")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} must be in a folder that exists; got {path}")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{name} must be in a folder that can be written to; got {path}")


def weight_bytes(model: ir.Model) -> int:
    """Bytes of the weights of the main graph."""
    return sum(each.const_value.nbytes for each in model.graph.initializers.values() if each.const_value is not None)


@contextmanager
def spill(model: ir.Model, out: str | PathLike[str] | None) -> Iterator[Keep | None]:
    """What keeps weights of an artifact of a large model on disk until it is written; None where memory is enough."""
    if out is None or weight_bytes(model) < SPILLED:
        yield None
        return
    with tempfile.TemporaryFile(dir=Path(out).parent) as file:
        yield Spill(file).keep


def write(model: ir.Model, path: str | PathLike[str]) -> int:
    """Write a model; `path` appears whole or stays as it was. Gives the bytes of what was written.

    Much weight goes to a file beside it, which is mapped on reading. It is called after its content, so that a model
    and its weights cannot be of different times; that of a model that was there before goes.
    """
    path = Path(path)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    beside: Path | None = None
    try:
        made = folder / path.name
        with made.open("wb") as file:
            if weight_bytes(model) > MOST_INSIDE:
                beside, fresh = _write_beside(model, folder, path, file)
            else:
                for part in wire.parts(model):
                    file.write(part)
        size = made.stat().st_size + (beside.stat().st_size if beside else 0)
        try:
            os.replace(made, path)
        except BaseException:
            if beside is not None and fresh:
                beside.unlink()
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in path.parent.iterdir():
        if each != beside and _of(path).fullmatch(each.name):
            each.unlink(missing_ok=True)
    return size


def _of(path: Path) -> re.Pattern[str]:
    """Names of files of weights of a model."""
    return re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{16}}\.data")


def _write_beside(model: ir.Model, folder: Path, path: Path, file: BinaryIO) -> tuple[Path, bool]:
    """Write weights beside a model and the rest to `file`; where the weights are, and whether they were not before."""
    proto, large = wire.taken_apart(model, SMALL_BYTES)
    content, places = hashlib.sha256(), []
    with (folder / "data").open("wb") as data:
        for tensor in large:
            data.seek(-(-data.tell() // ALIGNMENT) * ALIGNMENT)
            part = wire.data_of(tensor)
            places.append((data.tell(), len(part)))
            content.update(part)
            data.write(part)
            release(part)
    beside = path.with_name(f"{path.name}.{content.hexdigest()[:16]}.data")
    for each in proto.graph.initializer:
        i = wire.left_out(each)
        if i is not None:
            wire.point_to(each, beside.name, *places[i])
    file.write(proto.SerializeToString(deterministic=True))
    fresh = not beside.exists()
    os.replace(folder / "data", beside)
    return beside, fresh
