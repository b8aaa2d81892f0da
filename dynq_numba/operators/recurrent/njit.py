"""lstm, gru, rnn and their steps inside compiled code (see operators/linear/njit.py).

One layer, time first, x [T, B, I] or [B, I].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import data_ptr
from ...kernels.recurrent import njit_arguments as arrays
from ...kernels.recurrent.context import LayerDescriptor
from ...njit.arguments import absent, float_array, rows_function, threads_function
from ...njit.overloads import Overload, overload_of
from ...njit.types import PackedType
from . import api as recurrent
from .packed import PackedGRU, PackedLSTM, PackedRecurrent, PackedRNN


class PackedRecurrentType(PackedType):
    """numba's view of a PackedLSTM, PackedGRU or PackedRNN: its words."""

    packed = (PackedLSTM, PackedGRU, PackedRNN)

    def __init__(self, kind: str) -> None:
        super().__init__(f"Packed{kind.upper()}")
        self.kind = kind

    @classmethod
    def of(cls, value: PackedRecurrent, context: Any) -> PackedRecurrentType:
        return _TYPES[value.kind]


_TYPES = {kind.kind: PackedRecurrentType(kind.kind) for kind in PackedRecurrentType.packed}


def _pieces(kind: str, ndim: int, x: Any, packed: Any, lengths: Any, threads: Any, **states: Any) -> list[Callable]:
    """The kernels that bring x, lengths, threads and states into form, after a look at their types."""
    if not (isinstance(packed, PackedRecurrentType) and packed.kind == kind):
        raise TypingError(f"packed must be one Packed{kind.upper()} in compiled code; got {packed}")
    float_array("x", x)
    if x.ndim != ndim:
        raise TypingError(f"x must have {ndim} dimensions in compiled code; got {x}")
    if not absent(lengths) and not (isinstance(lengths, types.Array) and lengths.dtype in types.integer_domain):
        raise TypingError(f"lengths must be an array of integers in compiled code; got {lengths}")
    prepared = [
        rows_function(x),
        arrays.no_lengths if absent(lengths) else arrays.lengths_of,
        threads_function(threads),
    ]
    for name, value in states.items():
        if absent(value):
            prepared.append(arrays.no_states)
            continue
        float_array(name, value)
        if value.ndim != ndim:
            raise TypingError(f"{name} must have {ndim} dimensions in compiled code; got {value}")
        prepared.append(arrays.states if ndim == 3 else arrays.step_states)
    return prepared


def _time_first(batch_first: Any) -> None:
    value = getattr(batch_first, "value", batch_first)
    if value is not False:
        raise TypingError(f"batch_first must be False in compiled code; got {batch_first}")


@overload_of(recurrent.lstm)
def lstm_overload(x, packed, h0=None, c0=None, lengths=None, batch_first=False, threads=None):  # type: ignore[no-untyped-def]
    _time_first(batch_first)
    rows_of, ends, count, hs, cs = _pieces("lstm", 3, x, packed, lengths, threads, h0=h0, c0=c0)

    def run(x, packed, h0=None, c0=None, lengths=None, batch_first=False, threads=None):  # type: ignore[no-untyped-def]
        words = packed.descriptor
        layer = LayerDescriptor(data_ptr(words))
        times, batch, inputs = x.shape
        if inputs != layer.inputs:
            raise ValueError("x must have as many columns as the layer has inputs")
        parts = layer.directions
        return arrays.sequence(
            rows_of(x, inputs), times, batch, ends(lengths, times, batch), hs(h0, parts, batch, layer.state),
            cs(c0, parts, batch, layer.hidden), words, count(threads),
        )  # fmt: skip

    return run


def _without_cells(function: Callable, kind: str) -> Overload:
    @overload_of(function)
    def sequence(x, packed, h0=None, lengths=None, batch_first=False, threads=None):  # type: ignore[no-untyped-def]
        _time_first(batch_first)
        rows_of, ends, count, hs = _pieces(kind, 3, x, packed, lengths, threads, h0=h0)

        def run(x, packed, h0=None, lengths=None, batch_first=False, threads=None):  # type: ignore[no-untyped-def]
            words = packed.descriptor
            layer = LayerDescriptor(data_ptr(words))
            times, batch, inputs = x.shape
            if inputs != layer.inputs:
                raise ValueError("x must have as many columns as the layer has inputs")
            y, h, _ = arrays.sequence(
                rows_of(x, inputs), times, batch, ends(lengths, times, batch),
                hs(h0, layer.directions, batch, layer.state), arrays.no_states(0, 0, 0, 0), words,
                count(threads),
            )  # fmt: skip
            return y, h

        return run

    return sequence


@overload_of(recurrent.lstm_cell)
def lstm_cell_overload(x, packed, h=None, c=None, threads=None):  # type: ignore[no-untyped-def]
    rows_of, _, count, hs, cs = _pieces("lstm", 2, x, packed, None, threads, h=h, c=c)

    def run(x, packed, h=None, c=None, threads=None):  # type: ignore[no-untyped-def]
        words = packed.descriptor
        layer = LayerDescriptor(data_ptr(words))
        batch, inputs = x.shape
        if inputs != layer.inputs or layer.directions != 1:
            raise ValueError("x must have as many columns as the layer has inputs, and the layer one direction")
        _, h1, c1 = arrays.sequence(
            rows_of(x, inputs), 1, batch, arrays.no_lengths(0, 0, 0), hs(h, 1, batch, layer.state),
            cs(c, 1, batch, layer.hidden), words, count(threads),
        )  # fmt: skip
        return h1[0], c1[0]

    return run


def _cell_without_cells(function: Callable, kind: str) -> Overload:
    @overload_of(function)
    def cell(x, packed, h=None, threads=None):  # type: ignore[no-untyped-def]
        rows_of, _, count, hs = _pieces(kind, 2, x, packed, None, threads, h=h)

        def run(x, packed, h=None, threads=None):  # type: ignore[no-untyped-def]
            words = packed.descriptor
            layer = LayerDescriptor(data_ptr(words))
            batch, inputs = x.shape
            if inputs != layer.inputs or layer.directions != 1:
                raise ValueError("x must have as many columns as the layer has inputs, and the layer one direction")
            _, h1, _ = arrays.sequence(
                rows_of(x, inputs), 1, batch, arrays.no_lengths(0, 0, 0), hs(h, 1, batch, layer.state),
                arrays.no_states(0, 0, 0, 0), words, count(threads),
            )  # fmt: skip
            return h1[0]

        return run

    return cell


OVERLOADS = (
    lstm_overload,
    lstm_cell_overload,
    _without_cells(recurrent.gru, "gru"),
    _without_cells(recurrent.rnn, "rnn"),
    _cell_without_cells(recurrent.gru_cell, "gru"),
    _cell_without_cells(recurrent.rnn_cell, "rnn"),
)
