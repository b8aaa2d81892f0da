"""Runs recurrent layers: the compiled sequence, or its numpy reference with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...kernels.base.jit import JIT_ENABLED, address, entry
from ...kernels.base.memory import WORKER_SIGNATURE
from ...kernels.objects.view import ADDRESS, VIEW
from ...kernels.recurrent import call as recurrent_call
from ...kernels.recurrent import cells as recurrent_cells
from ...kernels.recurrent import reference
from ...kernels.recurrent.context import LANES, Direction, LayerDescriptor, padded
from ...runtime import isa, kernel_table, threads
from ...runtime.signatures import WORD
from ..sgemm.backend import multiplier
from .floats import FloatWeight

_SEQUENCE = (VIEW, WORD, WORD, ADDRESS, ADDRESS, ADDRESS, WORD, ADDRESS, ADDRESS, ADDRESS, ADDRESS, WORD)


class _Kept:
    """Memory seen as an array, and objects that live as long as any view of it: what its addresses lead to."""

    def __init__(self, array: np.ndarray, *others: Any):
        self.__array_interface__ = array.__array_interface__
        self.kept = (array, others)


def _cells(packed: Any, d: int) -> list[Callable]:
    """The jitted cells of a direction, one per phase of a step."""
    options, names = packed.options, packed.options.activations[d]
    clipped, two = options.clip is not None, len(packed.weights[d]) > 2
    if packed.kind == "rnn":
        return [recurrent_cells.rnn_cell(names, clipped)]
    if packed.kind == "gru":
        if not two:
            return [recurrent_cells.gru_cell(names, clipped)]
        return [build(names, clipped) for build in (recurrent_cells.gru_gates_cell, recurrent_cells.gru_state_cell)]
    lstm = recurrent_cells.lstm_cell(names, packed.peepholes is not None, clipped, options.input_forget, two)
    return [lstm, recurrent_cells.project_cell] if two else [lstm]


def _parameters(packed: Any, d: int) -> np.ndarray:
    """float32 alpha and beta of up to three activations, then the clip."""
    options = packed.options
    values = np.zeros(recurrent_cells.CLIP + 1, np.float32)
    for i, pair in enumerate(zip(options.alpha[d], options.beta[d], strict=True)):
        values[2 * i : 2 * i + 2] = pair
    values[-1] = 0 if options.clip is None else options.clip
    return values


class Layer:
    """A packed layer for the instruction set in force; compiled code gets `words` (kernels/recurrent/context.py)."""

    def __init__(self, packed: Any):
        parameters = np.stack([_parameters(packed, d) for d in range(packed.directions)])
        blocks = padded(packed.hidden_size) // LANES
        peepholes = np.zeros((packed.directions, blocks, 3, LANES), np.float32)
        for d, given in enumerate(packed.peepholes or ()):
            wide = np.zeros((3, blocks * LANES), np.float32)
            wide[:, : packed.hidden_size] = given
            peepholes[d] = wide.reshape(3, blocks, LANES).swapaxes(0, 1)
        first, each = LayerDescriptor.lines() // 8, Direction.lines() // 8
        words = np.zeros(first + packed.directions * each, np.int64)
        self.words: np.ndarray = words
        if not JIT_ENABLED:
            self.references = tuple(direction_of(packed, d) for d in range(packed.directions))
            return
        layouts = [[weight._layout() for weight in weights] for weights in packed.weights]
        floats = isinstance(packed.weights[0][0], FloatWeight)
        LayerDescriptor.fill(
            words, sequence_worker=kernel_table.worker_address(packed.kind, isa.active()), pool=threads.POOL,
            inputs=packed.input_size, hidden=packed.hidden_size, state=packed.state_size,
            directions=packed.directions, gate_columns=packed.weights[0][0].shape[0],
            phases=len(packed.weights[0]) - 1, has_cells=packed.kind == "lstm",
            multiplier=multiplier(isa.active()).ctypes.data if floats else 0,
        )  # fmt: skip
        for d, (given, *products) in enumerate([layout.descriptor for layout in own] for own in layouts):
            direction = words[first + d * each :]
            Direction.fill(
                direction, input=given.ctypes.data, reverse=packed.options.direction == "reverse" or d == 1,
                peepholes=peepholes[d].ctypes.data, parameters=parameters[d].ctypes.data,
            )  # fmt: skip
            cells = [address(cell, WORKER_SIGNATURE) for cell in _cells(packed, d)]
            Direction.fill(direction, product=products[0].ctypes.data, cell=cells[0])
            if len(products) > 1:
                Direction.fill(direction, product_2=products[1].ctypes.data, cell_2=cells[1])
        self.words = np.asarray(_Kept(words, layouts, peepholes, parameters))


def direction_of(packed: Any, d: int) -> reference.Direction:
    """A direction of a packed layer, for the numpy reference."""
    parts: list[tuple] = []
    for weight in packed.weights[d]:
        if isinstance(weight, FloatWeight):
            parts.append((weight.weight, weight.bias))
            continue
        bias = np.zeros(weight.shape[0], np.float32) if weight.bias is None else weight.bias
        parts.append((weight.qweight, weight.scale.reshape(-1, 1), bias))
    peepholes = None
    if packed.peepholes is not None:
        peepholes = np.zeros((3, padded(packed.hidden_size)), np.float32)
        peepholes[:, : packed.hidden_size] = packed.peepholes[d]
    options = packed.options
    return reference.Direction(
        packed.kind, options.direction == "reverse" or d == 1, packed.hidden_size, parts[0], tuple(parts[1:]),
        options.activations[d], _parameters(packed, d), peepholes,
        options.clip is not None, options.input_forget, options.linear_before_reset,
    )  # fmt: skip


@cache
def _sequence() -> Callable:
    return entry(recurrent_call.entry, _SEQUENCE)


def sequence(
    packed: Any,
    x: np.ndarray,
    times: int,
    batch: int,
    lengths: np.ndarray | None,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    count: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y [T, B, directions·P], h and c (empty unless LSTM) of float32 rows x [T·B, I]; `count` threads, 0 chooses."""
    directions, state, hidden = packed.directions, packed.state_size, packed.hidden_size
    y = np.empty((times, batch, directions * state), np.float32)
    h = np.empty((directions, batch, state), np.float32)
    c = np.empty((directions, batch, hidden) if packed.kind == "lstm" else 0, np.float32)
    if not JIT_ENABLED:
        h[...], c[...] = 0 if h0 is None else h0, 0 if c0 is None else c0
        cells = c if packed.kind == "lstm" else None
        reference.sequence(packed._layer().references, x.reshape(times, batch, packed.input_size), lengths, h, cells, y)
        return y, h, c
    words = packed._layer().words
    if count != 1:
        threads.ready(count)
    given = (lengths is not None) + 2 * (h0 is not None) + 4 * (c0 is not None)
    _sequence()(
        x, times, batch, y if lengths is None else lengths, y if h0 is None else h0, y if c0 is None else c0, given,
        y, h, c, words, count,
    )  # fmt: skip
    return y, h, c
