"""ONNX files: read in any form, written whole or not at all."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from ..arguments import checks
from ..graph.canonical import RUNTIME

#: Weights beyond this lie in a file beside the model: protobuf ends at 2 GB.
MOST_INSIDE = 1_800_000_000
#: Where weights begin in that file, so that it can be mapped.
ALIGNMENT = 4096
#: Of a model that was read, in its `meta`: the bytes of the files of weights beside it.
_BESIDE = "dynq.bytes_beside"


def called(model: Any, argument: str) -> str:
    """What errors call a model: its path, else the argument that it was given as."""
    return str(model) if isinstance(model, (str, PathLike)) else argument


def read(model: Any, argument: str = "model") -> ir.Model:
    """A model from a path, bytes, ModelProto or onnx_ir.Model, of which the last two are copied.

    Raises
    ------
    TypeError, ValueError
        Where it is something else, or no ONNX model.
    OSError
        From reading the file.
    """
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
        return _valid(argument, lambda: onnx.load_model_from_string(data))
    if isinstance(model, (ir.Model, onnx.ModelProto)):
        proto = _copied(model)
        return _valid(argument, lambda: proto)
    if not isinstance(model, (str, PathLike)):
        raise TypeError(
            f"{argument} must be a path, bytes, onnx.ModelProto or onnx_ir.Model; got {checks.describe(model)}"
        )
    path = Path(model)
    path.open("rb").close()  # an error of the system's, if it cannot be read
    return _valid(str(path), lambda: path)


def digest(model: Any) -> str:
    """The sha256 of what `read` takes."""
    if isinstance(model, (ir.Model, onnx.ModelProto)):
        model = _copied(model).SerializeToString(deterministic=True)
    if isinstance(model, (bytes, bytearray, memoryview)):
        return hashlib.sha256(model).hexdigest()
    with Path(model).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nbytes(model: Any, read: ir.Model) -> int | None:
    """Bytes of the file that a model was `read` from, with those of weights beside it; None where there is no file."""
    if isinstance(model, (str, PathLike)):
        return Path(model).stat().st_size + int(read.meta[_BESIDE])
    return len(memoryview(model).cast("B")) if isinstance(model, (bytes, bytearray, memoryview)) else None


def _copied(model: ir.Model | onnx.ModelProto) -> onnx.ModelProto:
    return ir.to_proto(_mapped(model.clone())) if isinstance(model, ir.Model) else copy.deepcopy(model)


def _valid(name: str, source: Callable[[], Any]) -> ir.Model:
    """The model, once onnx's checker has nothing against it."""
    try:
        given = source()
        proto = onnx.load(given, load_external_data=False) if isinstance(given, Path) else given
        if not _moved(proto):  # else what is in the file is nothing that the checker knows
            onnx.checker.check_model(given)
        sparse = [each.values.name for each in proto.graph.sparse_initializer]
        model = ir.from_proto(proto)
        if isinstance(given, Path):
            ir.external_data.set_base_dir(model.graph, given.parent)
    except Exception as error:  # protobuf, the checker and onnx_ir have kinds of their own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{name} is no valid ONNX model: {reason}") from error
    if sparse:  # onnx_ir leaves them out
        raise ValueError(f"{name} has sparse initializers, which cannot be read: {', '.join(sparse)}")
    return _mapped(model)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Those of branches and bodies, too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _moved(proto: onnx.ModelProto) -> bool:
    """Put operators of ONNX Runtime in its domain that it writes without one; whether there were some."""
    found = [node for node in _nodes(proto.graph) if node.op_type == "SimplifiedLayerNormalization" and not node.domain]
    for node in found:
        node.domain = RUNTIME
    if found and not any(each.domain == RUNTIME for each in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid(RUNTIME, 1))
    return bool(found)


def _mapped(model: ir.Model) -> ir.Model:
    """With external tensors as arrays over one mapping of each file, so that they go wherever the model goes.

    onnx_ir maps each tensor for itself, with a file that stays open.
    """
    maps: dict[str, np.ndarray] = {}
    beside: dict[str, int] = {}

    def mapped(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        path = str(tensor.path)
        beside[path] = Path(path).stat().st_size
        if tensor.size == 0 or tensor.dtype.bitwidth < 8:
            array = tensor.numpy().copy()
            tensor.release()
        else:
            begin, kind = tensor.offset or 0, np.dtype(tensor.dtype.numpy())
            if path not in maps:
                maps[path] = np.memmap(path, np.uint8, "r").view(np.ndarray)
            array = maps[path][begin : begin + tensor.nbytes].view(kind).reshape(tensor.shape.numpy())
            array = np.require(array, requirements="A")
        return ir.Tensor(array, tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)

    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = mapped(value.const_value)
        for node in graph:
            for attribute in list(node.attributes.values()):
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    node.attributes[attribute.name] = ir.AttrTensor(attribute.name, mapped(attribute.as_tensor()))
    model.meta[_BESIDE] = sum(beside.values())
    return model


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


def write(model: ir.Model, path: str | PathLike[str]) -> int:
    """Write a model; `path` appears whole or stays as it was. Large weights go to `path`.data, mapped on reading.

    Gives the bytes of what was written.
    """
    path = Path(path)
    whole = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        made = folder / path.name
        if whole > MOST_INSIDE:
            data = f"{path.name}.data"
            ir.save(model, made, external_data=data, alignment=ALIGNMENT)
            size = made.stat().st_size + (folder / data).stat().st_size
            os.replace(folder / data, path.with_name(data))
        else:
            size = made.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
        os.replace(made, path)
        return size
    finally:
        shutil.rmtree(folder, ignore_errors=True)
