"""LSTM, GRU and RNN: every step against ONNX's formulas in float64, every bit against the numpy twin."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import oracle
import oracle_recurrent
import pytest
from remembered import remembered

import dynq_numba as dq
from dynq_numba.kernels.recurrent import part
from dynq_numba.kernels.recurrent import reference as reference_recurrent
from dynq_numba.operators.recurrent.backend import direction_of

F32 = np.float32
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
PACK = {"lstm": dq.pack_lstm, "gru": dq.pack_gru, "rnn": dq.pack_rnn}
RUN = {"lstm": dq.lstm, "gru": dq.gru, "rnn": dq.rnn}
CELL = {"lstm": dq.lstm_cell, "gru": dq.gru_cell, "rnn": dq.rnn_cell}
#: kind, directions, options of pack_*, and whether there is a projection or peepholes.
CASES = {
    "lstm": ("lstm", 1, {}, ""),
    "lstm reverse": ("lstm", 1, {"direction": "reverse"}, ""),
    "lstm both": ("lstm", 2, {}, ""),
    "lstm peepholes, both": ("lstm", 2, {}, "peepholes"),
    "lstm projected, both": ("lstm", 2, {}, "projection"),
    "lstm coupled, clipped": ("lstm", 1, {"input_forget": True, "clip": 0.75}, "peepholes"),
    "lstm others": ("lstm", 1, {"activations": ["HardSigmoid", "ScaledTanh", "softsign"],
                                "activation_alpha": [0.3, 0.9], "activation_beta": [0.4, 1.1]}, ""),
    "gru": ("gru", 1, {}, ""),
    "gru before, both": ("gru", 2, {"linear_before_reset": True}, ""),
    "gru reverse, clipped": ("gru", 1, {"direction": "reverse", "clip": 0.5}, ""),
    "gru others, both": ("gru", 2, {"activations": ["hardsigmoid", "elu", "Sigmoid", "leakyrelu"]}, ""),
    "rnn": ("rnn", 1, {}, ""),
    "rnn both": ("rnn", 2, {"activations": ["relu", "softplus"], "clip": 0.9}, ""),
    "rnn affine": ("rnn", 1, {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}, ""),
}
each_case = pytest.mark.parametrize("case", CASES)


@remembered
def reference_sequence(directions, x, lengths, h, c):
    """y, and the states after; h and c are those before."""
    y = np.empty((*x.shape[:2], len(directions) * h.shape[2]), F32)
    h, c = h.copy(), None if c is None else c.copy()
    reference_recurrent.sequence(directions, x, lengths, h, c, y)
    return y, h, c


class Problem:
    """A layer with random weights of the size that trained ones have, packed, and its parts."""

    def __init__(self, rng, case, inputs=13, hidden=21):
        self.kind, count, self.options, extra = CASES[case]
        self.hidden, gates = hidden, GATES[self.kind] * hidden
        state = hidden - 4 if extra == "projection" else hidden
        self.state = state

        def normal(*shape):
            return (rng.standard_normal(shape) * 0.4).astype(F32)

        self.w, self.r, self.b = normal(count, gates, inputs), normal(count, gates, state), normal(count, 2 * gates)
        self.extras = {}
        if extra:
            shape = (count, 3 * hidden) if extra == "peepholes" else (count, state, hidden)
            self.extras[extra] = normal(*shape)
        self.packed = PACK[self.kind](self.w, self.r, self.b, **self.options, **self.extras)

    def run(self, x, h0=None, c0=None, lengths=None, **options):
        """(y, h, c or None)."""
        states = (h0, c0) if self.kind == "lstm" else (h0,)
        return (*RUN[self.kind](x, self.packed, *states, lengths, **options), None)[:3]

    def states(self, rng, batch):
        shape = (self.packed.directions, batch)
        h = rng.uniform(-1, 1, (*shape, self.state)).astype(F32)
        return h, rng.standard_normal((*shape, self.hidden)).astype(F32) if self.kind == "lstm" else None

    def twin(self, x, h0=None, c0=None, lengths=None):
        batch, count = x.shape[1], self.packed.directions
        h = np.zeros((count, batch, self.state), F32) if h0 is None else h0
        c = None
        if self.kind == "lstm":
            c = np.zeros((count, batch, self.hidden), F32) if c0 is None else c0
        directions = tuple(direction_of(self.packed, d) for d in range(count))
        return reference_sequence(directions, np.ascontiguousarray(x), lengths, h, c)

    def step(self, d, x, h, c):
        """One step of direction d in float64."""
        options = self.packed.options
        functions = oracle_recurrent.functions(
            options.activations[d], options.alpha[d], options.beta[d], options.clip
        )
        w, r, b = self.w[d], self.r[d], self.b[d].reshape(2, -1)
        if self.kind == "rnn":
            return oracle_recurrent.rnn(x, h, w, r, b, *functions), None
        if self.kind == "gru":
            return oracle_recurrent.gru(x, h, w, r, b, *functions, before=options.linear_before_reset), None
        extras = {name: value[d] for name, value in self.extras.items()}
        return oracle_recurrent.lstm(x, h, c, w, r, b, *functions, coupled=options.input_forget, **extras)


def assert_same(actual, expected, context=""):
    for a, e, name in zip(actual, expected, "yhc", strict=True):
        if e is not None:
            oracle.assert_same_bits(np.ascontiguousarray(a), e, f"{context} {name}")


@each_case
def test_every_step_is_onnx_in_float64(isa, rng, case):
    """Each step from the state that the step before left, so errors of float32 and nothing else remain.

    A pre-activation is two float32 products, exact here, and at most three more operations on values below 2^5: 2^-18
    covers it and what the activations, of slope ≤ 1, and the products behind them add. Where a second product quantizes
    values that are off in the last place, a value at a tie may go to the next integer: one step of its scale.
    """
    p = Problem(rng, case)
    x = rng.standard_normal((6, 3, 13)).astype(F32)
    h0, c0 = p.states(rng, 3)
    y, h, c = p.run(x, h0, c0)
    tie = 0.4 * 4 / 127 if "projection" in p.extras or len(p.packed.weights[0]) > 2 else 0
    for d in range(p.packed.directions):
        before_h, before_c = h0[d], None if c0 is None else c0[d]
        reverse = d == 1 or p.packed.options.direction == "reverse"
        for t in range(6)[:: -1 if reverse else 1]:
            want_h, want_c = p.step(d, x[t], before_h, before_c)
            got = y[t, :, d * p.state : (d + 1) * p.state]
            assert np.abs(got - want_h).max() < 2.0**-18 + tie, f"time {t}"
            if p.kind == "lstm":  # the cell of the layer has the state that the sequence does not show
                one = Problem.__new__(Problem)
                one.__dict__ = {**p.__dict__}
                extras = {name: value[d] for name, value in p.extras.items()}
                options = {k: v for k, v in p.options.items() if k != "direction"}
                one.packed = dq.pack_lstm(p.w[d], p.r[d], p.b[d], **options, **extras)
                cell_h, before_c = dq.lstm_cell(x[t], one.packed, before_h, before_c)
                oracle.assert_same_bits(cell_h, np.ascontiguousarray(got), "cell")
                assert np.abs(before_c - want_c).max() < 2.0**-16
            before_h = np.ascontiguousarray(got)
        oracle.assert_same_bits(h[d], before_h, "final state")
        if c is not None:
            oracle.assert_same_bits(c[d], before_c, "final cell")


@each_case
@pytest.mark.parametrize("threads", [1, 2, 5, 9])
def test_every_thread_count_has_the_twin_s_bits(isa, rng, case, threads):
    for inputs, hidden, batch, times in ((13, 21, 3, 5), (1, 5, 1, 4), (17, 100, 1, 3), (17, 100, 2, 3), (8, 64, 7, 2)):
        p = Problem(rng, case, inputs, hidden)
        x = rng.standard_normal((times, batch, inputs)).astype(F32)
        h0, c0 = p.states(rng, batch)
        lengths = rng.integers(0, times + 1, batch)
        assert_same(p.run(x, threads=threads), p.twin(x), f"{inputs} {hidden}")
        assert_same(p.run(x, h0, c0, lengths, threads=threads), p.twin(x, h0, c0, lengths), f"lengths {lengths}")


@each_case
def test_blocks_of_gates_do_not_matter(rng, case):
    """Batches so large that gates are computed a few steps at a time, and rows beyond one block of the linear."""
    p = Problem(rng, case, 9, 40)
    x = rng.standard_normal((7, 530, 9)).astype(F32)
    lengths = rng.integers(0, 8, 530)
    expected = p.twin(x, lengths=lengths)
    for threads in (None, 1, 2, 3):
        assert_same(p.run(x, lengths=lengths, threads=threads), expected, f"{threads} threads")


def test_large_weights_go_forwards_and_backwards_with_the_same_bits(rng):
    """Weights that a step multiplies piece by piece (part.LARGE), on one thread; parts of two are smaller."""
    p = Problem(rng, "lstm", 3, 533)
    x = rng.standard_normal((4, 2, 3)).astype(F32)
    h0, c0 = p.states(rng, 2)
    assert p.r[0].size > part.LARGE
    for threads in (1, 2):
        assert_same(p.run(x, h0, c0, threads=threads), p.twin(x, h0, c0), f"{threads} threads")


@each_case
def test_padding_and_other_rows_never_change_a_result(isa, rng, case):
    p = Problem(rng, case)
    x = rng.standard_normal((6, 4, 13)).astype(F32)
    h0, c0 = p.states(rng, 4)
    lengths = np.array([6, 0, 3, 5])
    for b in range(4):
        x[lengths[b] :, b] = (np.nan, np.inf, 1e30, -np.inf)[b]
    y, h, c = p.run(x, h0, c0, lengths)
    for b, length in enumerate(lengths):
        own = p.run(x[:length, b : b + 1], h0[:, b : b + 1], None if c0 is None else c0[:, b : b + 1])
        alone = [y[:length, b : b + 1], h[:, b : b + 1], None if c is None else c[:, b : b + 1]]
        assert_same(alone, own, f"row {b}")
        assert (y[length:, b] == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_value_makes_the_rest_of_its_sequence_nan(isa, rng, value):
    for case in ("lstm", "gru", "gru before, both", "lstm projected, both", "rnn"):
        p = Problem(rng, case)
        x = rng.standard_normal((5, 3, 13)).astype(F32)
        clean = p.run(x)[0]
        x[2, 1, 4] = value
        y = p.run(x)[0]
        assert np.isnan(y[2:, 1, : p.state]).all()
        others = np.ones(y.shape, bool)
        others[:, 1] = False
        others[:2, 1, : p.state] = True
        assert (y[others] == clean[others]).all()
        assert_same(p.run(x), p.twin(x))


@each_case
def test_steps_one_by_one_are_the_sequence(rng, case):
    p = Problem(rng, case)
    if p.packed.directions == 2:
        with pytest.raises(ValueError, match="packed"):
            CELL[p.kind](np.zeros((2, 13), F32), p.packed)
        return
    x = rng.standard_normal((5, 2, 13)).astype(F32)
    y, h, _ = p.run(x)
    state = ()
    for t in range(5)[:: -1 if p.packed.options.direction == "reverse" else 1]:
        state = CELL[p.kind](x[t], p.packed, *state)
        state = state if p.kind == "lstm" else (state,)
        oracle.assert_same_bits(state[0], np.ascontiguousarray(y[t]))
    oracle.assert_same_bits(state[0], h[0])
    alone = CELL[p.kind](x[0, 0], p.packed, *(part[0] for part in state))
    both = CELL[p.kind](x[0], p.packed, *state)
    for one, two in zip((alone,) if p.kind != "lstm" else alone, (both,) if p.kind != "lstm" else both, strict=True):
        oracle.assert_same_bits(one, two[0])


def test_directions_and_stacks_are_layers_run_by_hand(rng):
    p, q = Problem(rng, "lstm both"), Problem(rng, "lstm both", inputs=42)
    x = rng.standard_normal((6, 3, 13)).astype(F32)
    forward, backward = (
        dq.lstm(x if d == 0 else x[::-1], dq.pack_lstm(p.w[d], p.r[d], p.b[d], layout="onnx")) for d in (0, 1)
    )
    y, h, c = dq.lstm(x, p.packed)
    oracle.assert_same_bits(y, np.concatenate([forward[0], backward[0][::-1]], axis=2))
    oracle.assert_same_bits(c, np.concatenate([forward[2], backward[2]]))
    top = dq.lstm(y, q.packed)
    both = dq.lstm(x, [p.packed, q.packed])
    oracle.assert_same_bits(both[0], top[0])
    oracle.assert_same_bits(both[1], np.concatenate([h, top[1]]))
    oracle.assert_same_bits(both[2], np.concatenate([c, top[2]]))
    again = dq.lstm(x, (p.packed, q.packed), *both[1:])
    lower = dq.lstm(x, p.packed, h, c)
    oracle.assert_same_bits(again[0], dq.lstm(lower[0], q.packed, *top[1:])[0])


@pytest.mark.parametrize("kind", PACK)
def test_layouts_are_orders_of_gates(rng, kind):
    hidden, order = 6, {"lstm": (0, 2, 3, 1), "gru": (1, 0, 2), "rnn": (0,)}[kind]  # of torch's gates in ONNX's
    gates = GATES[kind]
    w, r, b = (rng.standard_normal((gates, hidden, *s)).astype(F32) for s in ((5,), (hidden,), (2,)))
    onnx = [a.reshape(gates * hidden, -1) for a in (w, r)]
    torch = [a[list(order)].reshape(gates * hidden, -1) for a in (w, r)]
    biases = [np.concatenate([a[..., i].reshape(-1) for i in (0, 1)]) for a in (b, b[list(order)])]
    options = {"linear_before_reset": True} if kind == "gru" else {}
    assert PACK[kind](*onnx, biases[0], **options) == PACK[kind](*torch, biases[1], layout="torch")
    assert (PACK[kind](*onnx, **options) == PACK[kind](*torch)) is (kind == "rnn")


@pytest.mark.parametrize("make", ["transposed", "float64", "read-only", "reversed", "wide"])
def test_any_layout_of_x(rng, make):
    p = Problem(rng, "lstm both")
    x = rng.standard_normal((4, 3, 13)).astype(F32)
    expected = p.run(x)
    wide = np.full((4, 6, 20), np.nan, F32)
    wide[:, ::2, 3:16] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    given = {
        "transposed": np.asfortranarray(x), "float64": x.astype(np.float64), "read-only": frozen,
        "reversed": x[::-1].copy()[::-1], "wide": wide[:, ::2, 3:16],
    }[make]
    assert_same(p.run(given), expected)
    y, h, c = p.run(given.swapaxes(0, 1), batch_first=True)
    assert_same((y.swapaxes(0, 1), h, c), expected)
    y, h, c = p.run(given[:, 1])
    assert_same((y, h, c), (expected[0][:, 1].copy(), expected[1][:, 1].copy(), expected[2][:, 1].copy()))


def test_nothing_in_nothing_out(rng):
    for case in ("lstm both", "gru", "rnn"):
        p = Problem(rng, case)
        h0, c0 = p.states(rng, 2)
        y, h, _ = p.run(np.zeros((0, 2, 13), F32), h0, c0)
        assert y.shape == (0, 2, p.packed.directions * p.state)
        oracle.assert_same_bits(h, h0)
        y, h, _ = p.run(np.zeros((3, 0, 13), F32))
        assert y.shape == (3, 0, p.packed.directions * p.state) and h.shape == (p.packed.directions, 0, p.state)


def test_a_packed_layer_is_a_value(rng):
    for case in CASES:
        p = Problem(rng, case)
        copy = pickle.loads(pickle.dumps(p.packed))
        assert copy == p.packed and hash(copy) == hash(p.packed) and copy.options == p.packed.options
        x = rng.standard_normal((3, 2, 13)).astype(F32)
        assert_same((*RUN[p.kind](x, copy), None)[:3], p.run(x))
        assert repr(copy).startswith(f"Packed{p.kind.upper()}(13 -> {p.packed.directions * p.state}, hidden 21,")
        assert p.packed.nbytes == sum(w.nbytes for d in p.packed.weights for w in d) + sum(
            a.nbytes for a in p.packed.peepholes or ())  # fmt: skip
    p = Problem(rng, "lstm peepholes, both")
    other = dq.pack_lstm(p.w, p.r, p.b, peepholes=p.extras["peepholes"] * 2, layout="onnx")
    assert p.packed != other and p.packed != dq.pack_lstm(p.w, p.r, p.b, layout="onnx") and p.packed != "lstm"


def test_callers_at_the_same_time_do_without_helpers(rng):
    """The second caller finds the helpers taken and does all parts of every step itself."""
    p = Problem(rng, "lstm peepholes, both", 40, 96)
    x = rng.standard_normal((30, 5, 40)).astype(F32)
    expected = p.run(x, threads=1)
    wrong = []

    def call():
        for _ in range(30):
            got = p.run(x, threads=4)
            wrong.extend(i for i in range(3) if not oracle.same_bits(got[i], expected[i]))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


SCRIPT = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(5)
digest = hashlib.sha256()
for gates, pack, run in ((4, dq.pack_lstm, dq.lstm), (3, dq.pack_gru, dq.gru), (1, dq.pack_rnn, dq.rnn)):
    w, r, b = (rng.normal(size=(2, gates * 7, n)).astype(np.float32) for n in (5, 7, 2))
    layer = pack(w, r, b.reshape(2, -1))
    for part in run(rng.normal(size=(6, 3, 5)).astype(np.float32), layer, lengths=[6, 2, 5]):
        digest.update(part.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_without_a_compiler():
    digests = set()
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
