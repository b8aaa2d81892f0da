"""What a quantized LSTM, GRU or RNN means in standard ONNX: the bits of our kernels (kernels/recurrent/cells.py).

    x ── Linear(W) ──▶ gates of all times ──▶ Scan { h ── Linear(R) ──▶ + ──▶ cell ──▶ h, c } ──▶ y, h, c

A direction is one Scan; the second one has time turned around before and behind it. The cell is written as numpy
formulas, and its activations are those of the reference of our kernels. Where lengths are given, a row that has ended
keeps its states, and its y is 0.

A step is some 120 small nodes. So other runtimes need more time for such a layer than for the float one; a session of
ours runs its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...kernels.activations.reference import ONE, ZERO, at_least, at_most
from ...kernels.recurrent.reference_activations import ACTIVATIONS
from ...operators.recurrent.packed import PackedRecurrent
from ..formulas import Body, Formula, input_named
from ..model import DOMAIN, OPSET, VERSION

#: The results of each operator.
RESULTS = {"lstm": ("y", "y_h", "y_c"), "gru": ("y", "y_h"), "rnn": ("y", "y_h")}
#: Inputs beside the optional ones: x, and the constants in the order of the call.
CONSTANTS = ("W", "W_scale", "W_sum", "R", "R_scale", "R_sum", "B")
Activation = Callable[[Any], Any]


def function(name: str, packed: PackedRecurrent, optional: Sequence[str], linear: ir.Function) -> ir.Function:
    """The function of a layer.

    Parameters
    ----------
    name : str
    packed : PackedRecurrent
        Its options count, not its weights.
    optional : sequence of str
        Of sequence_lens, initial_h, initial_c, peepholes: further inputs, in this order.
    linear : ir.Function
        What multiplies x with W, and h with R.
    """
    return _Layer(name, packed, optional, linear).made()


class _Layer:
    def __init__(self, name: str, packed: PackedRecurrent, optional: Sequence[str], linear: ir.Function) -> None:
        self.name, self.packed, self.options, self.linear = name, packed, packed.options, linear
        self.inputs = {each: input_named(each) for each in ("x", *CONSTANTS, *optional)}
        self.body = Body()

    def made(self) -> ir.Function:
        ways = [self.direction(place) for place in range(self.packed.directions)]
        y = self.body.op("Concat", *(self.at_axis(way[0], 1) for way in ways), axis=1)
        ends = [
            self.body.op("Concat", *(self.at_axis(way[i], 0) for way in ways), axis=0)
            for i in range(1, len(RESULTS[self.packed.kind]))
        ]
        for value, result in zip((y, *ends), RESULTS[self.packed.kind], strict=True):
            value.name = result
        graph = ir.Graph(
            list(self.inputs.values()), [y, *ends], nodes=self.body.nodes, name=self.name,
            opset_imports={"": OPSET, DOMAIN: VERSION},
        )  # fmt: skip
        return ir.Function(DOMAIN, self.name, graph=graph, attributes=())

    # -- pieces ---------------------------------------------------------------------------------
    def at_axis(self, value: ir.Value, axis: int) -> ir.Value:
        """With an axis of 1 more."""
        return self.body.op("Unsqueeze", value, self.body.constant([axis]))

    def part(self, name: str, place: int) -> ir.Value:
        """Of an input with directions first: that of one direction."""
        return self.body.op("Gather", self.inputs[name], self.body.constant(np.int64(place)), axis=0)

    def turned(self, value: ir.Value) -> ir.Value:
        """With time the other way around."""
        first, end, axis, step = (self.body.constant([n]) for n in (-1, np.iinfo(np.int64).min, 0, -1))
        return self.body.op("Slice", value, first, end, axis, step)

    def state(self, name: str, place: int, units: int) -> ir.Value:
        """The initial state of a direction: given, or zeros."""
        if name in self.inputs:
            return self.part(name, place)
        body = self.body
        batch = body.op("Gather", body.op("Shape", self.inputs["x"]), body.constant([1]), axis=0)
        shape = body.op("Concat", batch, body.constant([units]), axis=0)
        return body.op("Expand", body.constant(ZERO), shape)

    def active(self) -> ir.Value:
        """[T, B, 1]: which rows have a time."""
        body = self.body
        times = body.op("Gather", body.op("Shape", self.inputs["x"]), body.constant(np.int64(0)), axis=0)
        time = body.op("Range", body.constant(np.int64(0)), times, body.constant(np.int64(1)))
        lengths = body.op("Cast", self.inputs["sequence_lens"], to=ir.DataType.INT64)
        return self.at_axis(body.op("Less", self.at_axis(time, 1), lengths), 2)

    # -- a direction ----------------------------------------------------------------------------
    def direction(self, place: int) -> list[ir.Value]:
        """y [T, B, H], and the last h and c [B, H]."""
        body, packed = self.body, self.packed
        reverse = self.options.direction == "reverse" or place == 1
        w, w_scale, w_sum, r, r_scale, r_sum, bias = (self.part(name, place) for name in CONSTANTS)
        bias, inner = self.biases(bias)
        over_time = [body.call(self.linear, self.inputs["x"], w, w_scale, w_sum, bias)]
        if "sequence_lens" in self.inputs:
            over_time.append(self.active())
        if reverse:
            over_time = [self.turned(each) for each in over_time]
        states = [self.state("initial_h", place, packed.state_size)]
        if packed.kind == "lstm":
            states.append(self.state("initial_c", place, packed.hidden_size))
        peepholes = self.part("peepholes", place) if "peepholes" in self.inputs else None
        step = self.step(place, (r, r_scale, r_sum, inner), peepholes)
        *ends, y = body.op(
            "Scan", *states, *over_time, results=len(states) + 1, body=step, num_scan_inputs=len(over_time)
        )
        return [self.turned(y) if reverse else y, *ends]

    def biases(self, both: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Those of W and R [G·H] as they are added to the products with W and with R."""
        body, zero = self.body, self.body.constant(np.zeros(1, np.float32))
        outer, inner = body.op("Split", both, results=2, axis=0, num_outputs=2)
        total = body.op("Add", outer, inner)
        if not self.options.linear_before_reset:
            return total, zero
        size = 2 * self.packed.hidden_size  # of the h gate, r multiplies the one of R
        split = body.constant([size, self.packed.hidden_size])
        first, _ = body.op("Split", total, split, results=2, axis=0)
        (_, of_w), (_, of_r) = (body.op("Split", each, split, results=2, axis=0) for each in (outer, inner))
        nothing = body.constant(np.zeros(size, np.float32))
        return body.op("Concat", first, of_w, axis=0), body.op("Concat", nothing, of_r, axis=0)

    # -- a step ---------------------------------------------------------------------------------
    def step(self, place: int, weight: Sequence[ir.Value], peepholes: ir.Value | None) -> ir.Graph:
        """The graph that Scan runs: states, gates of x and whether a row is active; states and y."""
        numbers = self.body.numbers
        body, kind = Body(numbers), self.packed.kind
        states = [input_named(f"{name}_{next(numbers)}") for name in ("h", "c")[: 2 if kind == "lstm" else 1]]
        gates = input_named(f"gates_{next(numbers)}")
        over_time = [gates]
        if "sequence_lens" in self.inputs:
            over_time.append(input_named(f"active_{next(numbers)}", ir.DataType.BOOL))
        cell = _Cell(body, self, place, weight, peepholes)
        made = getattr(cell, kind)(gates, *states)
        if len(over_time) == 1:
            y = body.op("Identity", made[0])
        else:
            y = body.op("Where", over_time[1], made[0], body.constant(ZERO))
            made = [body.op("Where", over_time[1], new, old) for new, old in zip(made, states, strict=True)]
        for value in (*made, y):  # ONNX Runtime does not run a Scan whose results have no shape, and may not infer it
            value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, self.packed.hidden_size])
        return ir.Graph([*states, *over_time], [*made, y], nodes=body.nodes, name=f"step_{next(numbers)}")


class _Cell:
    """What a step does with the gates of x [B, G·H] and the states: the new states."""

    def __init__(
        self, body: Body, layer: _Layer, place: int, weight: Sequence[ir.Value], peepholes: ir.Value | None
    ) -> None:
        self.body, self.linear, self.options, self.weight = body, layer.linear, layer.options, weight
        self.units, self.place, self.peepholes = layer.packed.hidden_size, place, peepholes

    def formula(self, value: ir.Value) -> Formula:
        return Formula(self.body, value)

    def split(self, value: ir.Value, *gates: int) -> list[Formula]:
        """Columns of so many gates each."""
        sizes = self.body.constant([self.units * each for each in gates])
        return [self.formula(each) for each in self.body.op("Split", value, sizes, results=len(gates), axis=-1)]

    def product(self, h: ir.Value) -> ir.Value:
        return self.body.call(self.linear, h, *self.weight)

    def activation(self, i: int) -> Activation:
        """f, g and h; the clip is part of the first two."""
        options, place = self.options, self.place
        apply = ACTIVATIONS[options.activations[place][i]][0]
        alpha, beta = np.float32(options.alpha[place][i]), np.float32(options.beta[place][i])
        if options.clip is None or i == 2:
            return lambda x: apply(x, alpha, beta)
        clip = np.float32(options.clip)

        def limited(x: Any) -> Any:
            return apply(at_most(at_least(x, -clip), clip), alpha, beta)

        return limited

    def lstm(self, gates: ir.Value, h: ir.Value, c: ir.Value) -> list[ir.Value]:
        f, g, last = map(self.activation, range(3))
        old, gates = self.formula(c), self.body.op("Add", gates, self.product(h))
        if self.peepholes is None:
            three, a = self.split(gates, 3, 1)
            i, o, keep = self.split(f(three).value, 1, 1, 1)
        else:
            i, o, keep, a = self.split(gates, 1, 1, 1, 1)
            of_i, of_o, of_keep = self.split(self.peepholes, 1, 1, 1)
            i, keep = f(i + of_i * old), f(keep + of_keep * old)
        keep = ONE - i if self.options.input_forget else keep
        new = keep * old + i * g(a)
        o = o if self.peepholes is None else f(o + of_o * new)
        return [(o * last(new)).value, new.value]

    def gru(self, gates: ir.Value, h: ir.Value) -> list[ir.Value]:
        f, g = map(self.activation, range(2))
        old, before = self.formula(h), self.options.linear_before_reset
        two, of_x = self.split(gates, 2, 1)
        if before:
            of_h, inner = self.split(self.product(h), 2, 1)
        else:
            of_h = self.formula(self.columns(h, 0, 2))
        z, r = self.split(f(two + of_h).value, 1, 1)
        n = g(of_x + (r * inner if before else self.formula(self.columns((r * old).value, 2, 3))))
        return [((ONE - z) * n + z * old).value]

    def rnn(self, gates: ir.Value, h: ir.Value) -> list[ir.Value]:
        f = self.activation(0)
        return [f(self.formula(self.body.op("Add", gates, self.product(h)))).value]

    def columns(self, h: ir.Value, first: int, last: int) -> ir.Value:
        """The product with some gates of R."""
        *constants, bias = self.weight
        bounds = [self.body.constant([gate * self.units]) for gate in (first, last)]
        some = [self.body.op("Slice", each, *bounds, self.body.constant([-1])) for each in constants]
        return self.body.call(self.linear, h, *some, bias)
