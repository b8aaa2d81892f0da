"""Model files without their weights: large tensors stay where they are in a file that is read, and are streamed out.

    file   ── fields of protobuf ──▶  model of small things, and for each large tensor: its bytes begin here
    model  ──▶  bytes before │ bytes of a tensor │ bytes between │ …        as protobuf would write it, never as a whole

Protobuf would hold a model twice while it reads or writes one, and ends at 2 GB. In the small model a tensor that was
left out has external data in INSIDE, at its offset.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

from ..files.pages import release

#: Where a tensor lies that was left out: in the bytes that the model was read from, or in a list.
INSIDE = "<in the model itself>"
#: Bytes of a tensor from which on it is left out.
LARGE = 1 << 16
#: Messages by field number, as far as tensors are found in them.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _FUNCTION, _TENSOR = range(6)
_MESSAGES = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION}, _GRAPH: {1: _NODE, 5: _TENSOR}, _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH}, _FUNCTION: {7: _NODE}, _TENSOR: {},
}  # fmt: skip
_RAW, _INITIALIZER, _MODELS_GRAPH = 9, 5, 7
#: Kinds of fields: a number, 8 bytes, bytes, 4 bytes.
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
#: Protobuf itself goes no deeper.
_DEEPEST = 100

Buffer = bytes | memoryview


def small(data: memoryview) -> bytes:
    """A serialized model with its large tensors left out.

    Raises
    ------
    ValueError
        Where it is cut off, or no message of protobuf.
    """
    return b"".join(_small(data, 0, len(data), _MODEL, 0))


def _small(data: memoryview, begin: int, end: int, kind: int, depth: int) -> Iterator[Buffer]:
    done = begin  # all before has been given
    for at, number, wire, inner, after in _fields(data, begin, end):
        size = after - inner
        if wire != _BYTES or size < LARGE:
            continue
        if kind == _TENSOR and number == _RAW:
            yield data[done:at]
            yield _elsewhere(inner, size)
            done = after
        elif number in _MESSAGES[kind] and depth < _DEEPEST:
            made = b"".join(_small(data, inner, after, _MESSAGES[kind][number], depth + 1))
            yield data[done:at]
            yield _head(number, len(made)) + made
            done = after
    yield data[done:end]


def _fields(data: Buffer, begin: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Of each field of a message: where it begins, its number and kind, where its value begins and ends."""
    at = begin
    while at < end:
        key, inner = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == _BYTES:
            size, inner = _varint(data, inner, end)
            after = inner + size
        elif wire == _VARINT:
            after = _varint(data, inner, end)[1]
        elif wire in (_EIGHT, _FOUR):
            after = inner + (8 if wire == _EIGHT else 4)
        else:
            raise ValueError(f"byte {at} begins no field")
        if after > end:
            raise ValueError(f"it is cut off, or damaged: the field at byte {at} ends {after - end} bytes too late")
        yield at, number, wire, inner, after
        at = after


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= end:
            break
        byte = data[at + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise ValueError(f"it is cut off, or damaged: byte {at} begins no number")


def _head(number: int, size: int) -> bytes:
    """What stands before the bytes of a field."""
    made = bytearray()
    for value in (number << 3 | _BYTES, size):
        while value > 127:
            made.append(value & 127 | 128)
            value >>= 7
        made.append(value)
    return bytes(made)


def _elsewhere(offset: int, size: int) -> bytes:
    tensor = TensorProto()
    point_to(tensor, INSIDE, offset, size)
    return tensor.SerializeToString()


def point_to(tensor: TensorProto, location: str, offset: int, size: int) -> None:
    """Let a tensor have its data in another place."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", size)):
        tensor.external_data.add(key=key, value=str(value))
    tensor.data_location = TensorProto.EXTERNAL


def taken_apart(model: ir.Model, least: int = LARGE) -> tuple[onnx.ModelProto, list[ir.TensorProtocol]]:
    """A model as protobuf, without the large weights of its main graph; and these, by their offsets in INSIDE."""
    large: list[tuple[ir.Value, ir.TensorProtocol]] = []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < least:
            continue
        value.const_value = ir.ExternalTensor(
            INSIDE, len(large), tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()),
            name=value.name or "", doc_string=tensor.doc_string, metadata_props=dict(tensor.metadata_props),
        )  # fmt: skip
        large.append((value, tensor))
    try:
        return ir.to_proto(model), [tensor for _, tensor in large]
    finally:
        for value, tensor in large:
            value.const_value = tensor


def left_out(tensor: TensorProto) -> int | None:
    """The offset of a tensor in INSIDE, None where it is whole."""
    entries = {each.key: each.value for each in tensor.external_data}
    return int(entries["offset"]) if entries.get("location") == INSIDE else None


def parts(model: ir.Model) -> Iterator[Buffer]:
    """The bytes of a model, weight by weight: together those that protobuf writes."""
    proto, large = taken_apart(model)
    tensors = [(TensorProto.FromString(each.SerializeToString()), left_out(each)) for each in proto.graph.initializer]
    del proto.graph.initializer[:]
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    rest = proto.SerializeToString(deterministic=True)
    heads = [_tensor_around(each, None if i is None else large[i].nbytes) for each, i in tensors]
    whole = len(graph) + sum(
        len(before) + len(after) + (0 if i is None else large[i].nbytes)
        for (before, after), (_, i) in zip(heads, tensors, strict=True)
    )
    middle, inner = _behind(rest, _MODELS_GRAPH), _behind(graph, _INITIALIZER)
    yield rest[:middle] + _head(_MODELS_GRAPH, whole) + graph[:inner]
    for (before, after), (_, i) in zip(heads, tensors, strict=True):
        yield before
        if i is not None:
            data = data_of(large[i])
            yield data
            release(data)
        yield after
    yield graph[inner:] + rest[middle:]


def _tensor_around(tensor: TensorProto, size: int | None) -> tuple[bytes, bytes]:
    """What stands before and behind the data of an initializer."""
    if size is None:
        body = tensor.SerializeToString(deterministic=True)
        return _head(_INITIALIZER, len(body)) + body, b""
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    body = tensor.SerializeToString(deterministic=True)
    at, head = _behind(body, _RAW), _head(_RAW, size)
    return _head(_INITIALIZER, len(body) + len(head) + size) + body[:at] + head, body[at:]


def _behind(message: bytes, number: int) -> int:
    """Where a field would stand: fields are in the order of their numbers."""
    return next((at for at, found, *_ in _fields(message, 0, len(message)) if found > number), len(message))


def data_of(tensor: ir.TensorProtocol) -> memoryview:
    """The bytes of a tensor, as ONNX stores them; those of an array are not copied."""
    if tensor.dtype.bitwidth < 8 or isinstance(tensor, ir.PackedTensor):
        return memoryview(tensor.tobytes())
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data
