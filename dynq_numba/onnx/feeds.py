"""What a session is given: the inputs of its model, and the arrays for them, looked at before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import onnx_ir as ir

from ..arguments import checks
from ..planning.caches import has_gap
from ..planning.objects import holds_objects
from ..planning.weights import in_memory


class NodeArg(NamedTuple):
    """An input or output of a model, as ONNX Runtime describes it.

    Attributes
    ----------
    name : str
    type : str
        Such as "tensor(float)".
    shape : list of int, str or None
        A length, the name of one that may vary, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]


#: A length that some model leaves open, in `Feeds.zeros`, where nobody says it.
OPEN = 8
#: What exporters write where a dimension has no name.
_NO_NAMES = ("", "?", "None", "unk", "unknown")
#: ONNX Runtime's names of types where they are not ONNX's.
_TYPE_NAMES = {"FLOAT": "float", "DOUBLE": "double"}


class Feeds:
    """The inputs of a model, and what arrays they take.

    Parameters
    ----------
    values : sequence of onnx_ir.Value
        In order.
    gaps : mapping of int to int
        Inputs that may have a gap behind an axis: those of caches.

    Attributes
    ----------
    inputs : list of NodeArg
    defaults : dict of str to array
        What inputs are that nobody gives: initializers that are inputs, too.
    """

    def __init__(self, values: Sequence[ir.Value], gaps: Mapping[int, int]) -> None:
        self.inputs = list(map(argument, values))
        self._wanted = [
            (*_wanted(value, each.shape), gaps.get(i, 0))
            for i, (value, each) in enumerate(zip(values, self.inputs, strict=True))
        ]
        self._objects = {value.name or "": value.type for value in values if holds_objects(value)}
        self._shared = _shared(self.inputs)
        constants = {value.name or "": value.const_value for value in values}
        self.defaults = {name: in_memory(each.numpy()) for name, each in constants.items() if each is not None}

    def arrays(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """The feeds in the model's order, as plans take them.

        Arrays of numbers are aligned, and C contiguous but for the gaps of caches.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"input_feed must be a mapping of names to arrays; got {checks.describe(given)}")
        feeds: list[Any] = []
        for name, dtype, rank, fixed, gap in self._wanted:
            array = given.get(name)
            if type(array) is np.ndarray and array.dtype == dtype and array.ndim == rank:
                flags, shape = array.flags, array.shape
                dense = flags.c_contiguous or (gap and has_gap(array, gap))
                if dense and flags.aligned and all(shape[axis] == n for axis, n in fixed):
                    feeds.append(array)
                    continue
            feeds.append(self._array(given, name, dtype))
        if len(given) != len(feeds) and not (self.defaults and given.keys() <= {each.name for each in self.inputs}):
            self._refuse(given)
        for dimension, places in self._shared:
            long = [(i, feeds[i].shape[axis]) for i, axis in places if feeds[i].shape[axis] != 1]
            if any(length != long[0][1] for _, length in long):
                first, other = long[0][0], next(i for i, length in long if length != long[0][1])
                a, b = (f"{self.inputs[at].name} has {feeds[at].shape}" for at in (first, other))
                raise ValueError(f"{dimension} must be one length in all inputs, or 1; {a}, {b}")
        return tuple(feeds)

    def _array(self, given: Mapping[str, Any], name: str, dtype: np.dtype) -> Any:
        """An array that is not plain, or an error."""
        if name not in given:
            if name in self.defaults:
                if not given.keys() <= {each.name for each in self.inputs}:
                    self._refuse(given)
                return self.defaults[name]
            self._refuse(given)
        array: Any = given[name]
        if name in self._objects:
            array = taken(name, array, self._objects[name])
            if isinstance(self._objects[name], ir.TensorType) and not _fits(array.shape, self._input(name).shape):
                raise ValueError(f"{name} must have shape {_readable(self._input(name).shape)}; got {array.shape}")
            return array
        if isinstance(array, np.generic):
            array = np.asarray(array)
        elif isinstance(array, (list, tuple, int, float, bool)):
            array = np.array(array, dtype)
        elif not isinstance(array, np.ndarray):
            array = checks.plain(name, array, f"an array of {dtype}")
        if array.dtype != dtype:
            raise ValueError(f"{name} must be of type {dtype}; got {array.dtype}")
        declared = self._input(name).shape
        if not _fits(array.shape, declared):
            raise ValueError(f"{name} must have shape {_readable(declared)}; got {array.shape}")
        return np.require(np.asarray(array), requirements=["C", "A"])

    def _refuse(self, given: Mapping[str, Any]) -> NoReturn:
        names = [each.name for each in self.inputs if each.name not in self.defaults]
        absent = [n for n in names if n not in given]
        unknown = [str(n) for n in given if n not in names and n not in self.defaults]
        if absent and set(names) & set(given):
            more = f", and {', '.join(unknown)} is no input" if unknown else ""
            raise ValueError(f"input_feed must have {', '.join(names)}; {', '.join(absent)} is missing{more}")
        raise ValueError(f"input_feed must have {', '.join(names)}; got {', '.join(map(str, given)) or 'nothing'}")

    def _input(self, name: str) -> NodeArg:
        for each in self.inputs:
            if each.name == name:
                return each
        raise ValueError(f"shapes must be of {', '.join(each.name for each in self.inputs)}; got {name!r}")

    def zeros(self, shapes: Mapping[str, Sequence[int]] | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
        """Feeds of zeros, and which lengths nobody gave: they are OPEN.

        Parameters
        ----------
        shapes : mapping of str to sequence of int, optional
            Of some inputs. The other inputs have the same lengths in dimensions of the same names.
        """
        given = {} if shapes is None else shapes
        known: dict[int | str | None, int] = {}
        for name, shape in given.items():
            declared = self._input(name).shape
            if not _fits(shape, declared):
                raise ValueError(f"{name} must have shape {_readable(declared)}; got {tuple(shape)}")
            known.update(zip(declared, shape, strict=True))
        known = {n: length for n, length in known.items() if isinstance(n, str) and n not in _NO_NAMES}
        feeds: dict[str, np.ndarray] = {}
        guessed: list[str] = []
        for (name, dtype, *_), each in zip(self._wanted, self.inputs, strict=True):
            if name in self.defaults and name not in given:
                continue
            if name in self._objects:
                raise ValueError(f"{name} is {each.type}: there are zeros of numbers only")
            lengths = [n if isinstance(n, int) else known.get(n, OPEN) for n in each.shape]
            feeds[name] = np.zeros(given.get(name, lengths), dtype)
            if name not in given:
                open_ones = [n for n in each.shape if not isinstance(n, int) and n not in known]
                guessed += [f"{'?' if n is None else n} of {name}" for n in open_ones]
        return feeds, list(dict.fromkeys(guessed))


def _wanted(value: ir.Value, shape: list[Any]) -> tuple[str, np.dtype, int, list[tuple[int, int]]]:
    """Name, type, axes and fixed lengths of an input; of no array -1 axes."""
    if value.dtype is None:
        raise ValueError(f"input {value.name} must be of a known type; got {value.type}")
    if not isinstance(value.type, ir.TensorType):
        return value.name or "", np.dtype(object), -1, []
    fixed = [(axis, n) for axis, n in enumerate(shape) if isinstance(n, int)]
    return value.name or "", np.dtype(value.dtype.numpy()), len(shape), fixed


#: An axis of an input: which input, and which axis.
Place = tuple[int, int]


def _shared(inputs: Sequence[NodeArg]) -> list[tuple[str, list[Place]]]:
    """Names that several axes have, and these axes: their lengths are to be the same, or 1, which may broadcast."""
    places: dict[str, list[Place]] = {}
    for i, each in enumerate(inputs):
        for axis, n in enumerate(each.shape):
            if isinstance(n, str) and n not in _NO_NAMES:
                places.setdefault(n, []).append((i, axis))
    return [(name, found) for name, found in places.items() if len(found) > 1]


def argument(value: ir.Value) -> NodeArg:
    """An input or output as callers see it."""
    dims = value.shape if isinstance(value.type, ir.TensorType) else None
    lengths = [n if isinstance(n, int) else n.value for n in dims or ()]
    shape = [None if isinstance(n, int) and n < 0 else n for n in lengths]  # some exporters write -1
    return NodeArg(value.name or "", _type_name(value.type), shape)


def _type_name(kind: ir.TypeProtocol | None) -> str:
    if isinstance(kind, ir.SequenceType):
        return f"seq({_type_name(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_type_name(kind.elem_type)})"
    name = "" if kind is None else kind.dtype.name
    return f"tensor({_TYPE_NAMES.get(name, name.lower())})"


def taken(name: str, value: Any, kind: ir.TypeProtocol | None) -> Any:
    """What a caller gives for an optional, a sequence, texts, or an array in one of these."""
    if isinstance(kind, ir.OptionalType):
        return None if value is None else taken(name, value, kind.elem_type)
    if isinstance(kind, ir.SequenceType):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list of arrays; got {checks.describe(value)}")
        return [taken(f"{name}[{i}]", each, kind.elem_type) for i, each in enumerate(value)]
    assert kind is not None
    if kind.dtype == ir.DataType.STRING:
        array = np.asarray(value, object)
        if not all(isinstance(each, str) for each in array.ravel()):
            raise ValueError(f"{name} must be an array of str; got {checks.describe(value)}")
        return array
    dtype = np.dtype(kind.dtype.numpy())
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        raise ValueError(f"{name} must be an array of {dtype}; got {checks.describe(value)}")
    return value


def _fits(shape: Sequence[int], declared: Sequence[int | str | None]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(wanted, int) or wanted == n for n, wanted in zip(shape, declared, strict=True)
    )


def _readable(shape: Sequence[int | str | None]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)}{',' * (len(shape) == 1)})"
