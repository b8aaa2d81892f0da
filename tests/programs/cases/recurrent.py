"""Cases of lstm, gru, rnn and their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq
from dynq_numba.operators.recurrent.arrange import float_layer
from dynq_numba.operators.recurrent.backend import sequence

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, values

#: pack, layer, cell, gates
LAYERS = (
    (dq.pack_lstm, dq.lstm, dq.lstm_cell, 4), (dq.pack_gru, dq.gru, dq.gru_cell, 3),
    (dq.pack_rnn, dq.rnn, dq.rnn_cell, 1),
)  # fmt: skip


def packed_lstm(W: np.ndarray, R: np.ndarray, B: np.ndarray) -> np.ndarray:
    """What a layer that was packed of these gives."""
    packed = dq.pack_lstm(W, R, B, layout="onnx")
    return dq.lstm(np.ones((2, 1, packed.input_size), np.float32), packed)[0]


def run_floats(x: np.ndarray, layer: dq.PackedLSTM, *states: np.ndarray | None, threads: int = 0) -> tuple:
    """y, h, c of x [T, B, I], lengths, h0 and c0 through a layer of float32 weights, which only sessions have."""
    times, batch, inputs = x.shape
    lengths, h0, c0 = (*states, None, None, None)[:3]
    rows = np.ascontiguousarray(x).reshape(times * batch, inputs)
    return sequence(layer, rows, times, batch, lengths, h0, c0, threads)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    times, batch, inputs, hidden, directions = {
        "small": (4, 3, 24, 16, 1), "middle": (30, 3, 64, 128, 2), "large": (2000, 2, 64, 256, 2),
    }[size]  # fmt: skip
    x, state = a.normal(times, batch, inputs), (directions, batch, hidden)
    packed = [
        pack(a.normal(directions, gates * hidden, inputs), a.normal(directions, gates * hidden, hidden), layout="onnx")
        for pack, _, _, gates in LAYERS
    ]
    lstm, gru, rnn = packed
    lengths = np.maximum(1, np.linspace(times, 1, batch).astype(np.int64))
    yield Call("lstm", lambda x, h0, c0, lengths, **o: dq.lstm(x, lstm, h0, c0, lengths, **o)[0],
               {"x": x, "h0": a.normal(*state), "c0": a.normal(*state), "lengths": lengths}, ("threads",))  # fmt: skip
    yield Call("gru", lambda x, h0, **o: dq.gru(x, gru, h0, **o)[0], {"x": x, "h0": a.normal(*state)}, ("threads",))
    if size != "small":  # those are given every odd argument, of which a backend is not told
        layer = float_layer("lstm", a.normal(directions, 4 * hidden, inputs), a.normal(directions, 4 * hidden, hidden))
        yield Call("lstm, float32", lambda x, **o: run_floats(x, layer, **o)[0], {"x": x}, ("threads",))
    yield Call("rnn", lambda x, h0, **o: dq.rnn(x, rnn, h0, **o)[0], {"x": x, "h0": a.normal(*state)}, ("threads",))
    if size == "large":
        return
    yield Call("lstm, alone", lambda x, **o: dq.lstm(x, lstm, **o)[0], {"x": x}, ("threads",),
               10_000 if size == "small" else None)  # fmt: skip
    if directions == 1:
        yield Call("lstm_cell", lambda x, h, c, **o: dq.lstm_cell(x, lstm, h, c, **o)[0],
                   {"x": x[0], "h": a.normal(batch, hidden), "c": a.normal(batch, hidden)}, ("threads",))  # fmt: skip
    yield Call("pack_lstm", packed_lstm,
               {"W": a.normal(1, 16, 8), "R": a.normal(1, 16, 4), "B": a.normal(1, 32)}, (), 100)  # fmt: skip


def edges() -> Iterator[Call]:
    for (pack, run, _, gates), inputs, hidden, batch in product(LAYERS, (1, 17, 64), (1, 15, 16, 33), (1, 3, 15)):
        packed = pack(values(24, 1, gates * hidden, inputs), values(25, 1, gates * hidden, hidden), layout="onnx")
        yield Call(run.__name__, lambda x, packed=packed, run=run, **o: run(x, packed, **o)[0],
                   {"x": values(26, 4, batch, inputs)}, ("threads",))  # fmt: skip


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    steps = a.normal(6, 2, 20)
    for pack, run, cell, gates in LAYERS:
        for directions in (1, 2):
            w = pack(a.normal(directions, gates * 24, 20), a.normal(directions, gates * 24, 24), layout="onnx")
            yield partial(run, steps, w)
            yield partial(run, steps, w, lengths=np.array([6, 3]), threads=2)
        w = pack(a.normal(gates * 24, 20), a.normal(gates * 24, 24), layout="onnx")
        yield partial(cell, steps[0], w)
        yield partial(cell, steps[0], w, a.normal(2, 24))


def golden() -> Arrays:
    x, h, lengths = values(48, 9, 3, 20), values(49, 2, 3, 24), np.array([9, 1, 6])
    for seed, (pack, run, _, gates) in zip((50, 53, 56), LAYERS, strict=True):
        w, r, b = values(seed, 2, gates * 24, 20), values(seed + 1, 2, gates * 24, 24), values(seed + 2, 2, gates * 48)
        packed = pack(w, r, b, layout="onnx")
        states = (h, values(59, 2, 3, 24)) if run is dq.lstm else (h,)
        for result in (run(x, packed), run(x, packed, *states, lengths=lengths, threads=2)):
            yield from result
    more = {"peepholes": values(60, 1, 3 * 24), "projection": values(61, 1, 10, 24), "clip": 0.9}
    yield from dq.lstm(x, dq.pack_lstm(values(62, 1, 96, 20), values(63, 1, 96, 10), layout="onnx", **more))


def golden_floats() -> Arrays:
    x, h, lengths = values(48, 9, 3, 20), values(49, 2, 3, 24), np.array([9, 1, 6])
    for seed, (kind, gates) in zip((50, 53, 56), (("lstm", 4), ("gru", 3), ("rnn", 1)), strict=True):
        w, r, b = values(seed, 2, gates * 24, 20), values(seed + 1, 2, gates * 24, 24), values(seed + 2, 2, gates * 48)
        layer = float_layer(kind, w, r, b, clip=0.9)
        c = values(59, 2, 3, 24) if kind == "lstm" else None
        yield from run_floats(x, layer)
        yield from run_floats(x, layer, lengths, h, c, threads=2)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    steps, batch, inputs, units = draw.short(), draw.short(), draw.length(), draw.one_of(1, 3, 16, 33)
    return draw.floats(steps, batch, inputs), draw.floats(1, 4 * units, inputs), draw.floats(1, 4 * units, units)


def extreme(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> list:
    results = []
    units = r.shape[-1]
    for pack, run, _, gates in LAYERS:
        results += run(x, pack(w[:, : gates * units], r[:, : gates * units], layout="onnx"), threads=2)
        floats = float_layer(run.__name__, w[:, : gates * units], r[:, : gates * units])
        results += run_floats(x, floats, threads=2)
    return results


ROW = Row(
    calls, edges, warm, {"recurrent": golden, "recurrent, float32": golden_floats},
    extremes={"recurrent": Extreme(drawn, extreme)}, imports="base threads activations linear sgemm",
    bench=("recurrent",),
)  # fmt: skip
