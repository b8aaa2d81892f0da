"""LSTM, GRU and RNN of float32 weights: a step against ONNX's formulas in float64, every bit against the numpy twin."""

import numpy as np
import oracle_recurrent
import pytest
from cases.recurrent import run_floats
from test_recurrent import F32, Problem, assert_same, each_case

import dynq_numba as dq
from dynq_numba.kernels.recurrent import part
from dynq_numba.operators.recurrent.arrange import float_layer


class Floats(Problem):
    """The same layers, whose weights stay float32."""

    def __init__(self, rng, case, inputs=13, hidden=21):
        super().__init__(rng, case, inputs, hidden)
        self.packed = float_layer(self.kind, self.w, self.r, self.b, **self.options, **self.extras)

    def run(self, x, h0=None, c0=None, lengths=None, threads=0):
        y, h, c = run_floats(x, self.packed, lengths, h0, c0, threads=threads)
        return y, h, c if self.kind == "lstm" else None


def exactly(x, weight, bias=None):
    """The product in float64."""
    sums = np.asarray(x, np.float64) @ weight.T.astype(np.float64)
    return sums if bias is None else sums + bias


@each_case
def test_a_step_is_onnx_in_float64(isa, rng, monkeypatch, case):
    """With u = 2^-24, K values that are multiplied and M the largest Σ |x|·|w| + |b| + Σ |h|·|r|, a pre-activation is
    off by at most (K + 8)·u·M; 2^-18 covers activations, of slope at most 1.1, and what follows (see test_recurrent). A
    second product multiplies that by its largest row, and a cell by what it multiplies gates with.
    """
    monkeypatch.setattr(oracle_recurrent, "product", exactly)
    p = Floats(rng, case)
    x = rng.standard_normal((1, 3, 13)).astype(F32)
    h0, c0 = p.states(rng, 3)
    _, h, c = p.run(x, h0, c0)
    row = np.abs(p.extras.get("projection", p.r)).sum(axis=-1).max()
    growth = (1 + row) * (3 + (0 if c0 is None else np.abs(c0).max()))
    for d in range(p.packed.directions):
        largest = np.abs(x[0]) @ np.abs(p.w[d]).T + np.abs(h0[d]) @ np.abs(p.r[d]).T
        largest = largest.max() + 2 * np.abs(p.b[d]).max()
        bound = growth * ((13 + 21 + 8) * 2.0**-24 * largest + 2.0**-18)
        want_h, want_c = p.step(d, x[0], h0[d], None if c0 is None else c0[d])
        assert bound < 1e-2
        assert np.abs(h[d] - want_h).max() < bound
        if c is not None:
            assert np.abs(c[d] - want_c).max() < bound


@each_case
def test_every_thread_count_has_the_twin_s_bits(isa, rng, case):
    for inputs, hidden, batch, times in ((13, 21, 3, 5), (1, 5, 1, 4), (17, 100, 1, 3), (8, 64, 7, 2)):
        p = Floats(rng, case, inputs, hidden)
        x = rng.standard_normal((times, batch, inputs)).astype(F32)
        h0, c0 = p.states(rng, batch)
        lengths = rng.integers(0, times + 1, batch)
        plain, whole = p.twin(x), p.twin(x, h0, c0, lengths)
        for threads in (1, 2, 5):
            assert_same(p.run(x, threads=threads), plain, f"{inputs} {hidden} {threads}")
            assert_same(p.run(x, h0, c0, lengths, threads), whole, f"lengths {lengths} {threads}")


@pytest.mark.parametrize("case", ["lstm both", "gru before, both"])
def test_large_weights_go_forwards_and_backwards_with_the_same_bits(rng, case):
    """Weights that a step multiplies piece by piece (part.LARGE), on one thread; parts of two are smaller."""
    p = Floats(rng, case, 3, 303)
    x = rng.standard_normal((4, 2, 3)).astype(F32)
    h0, c0 = p.states(rng, 2)
    assert 4 * p.r[0].size > part.LARGE
    for threads in (1, 2):
        assert_same(p.run(x, h0, c0, threads=threads), p.twin(x, h0, c0), f"{threads} threads")


@each_case
def test_rows_do_not_depend_on_their_batch(rng, case):
    """Batches so large that gates are computed a few steps at a time, and rows beyond one tile."""
    p = Floats(rng, case, 9, 40)
    x = rng.standard_normal((5, 130, 9)).astype(F32)
    lengths = rng.integers(0, 6, 130)
    y, h, _ = p.run(x, lengths=lengths, threads=2)
    for b in (0, 1, 77, 129):
        alone_y, alone_h, _ = p.run(x[:, b : b + 1], lengths=lengths[b : b + 1], threads=1)
        assert_same((y[:, b : b + 1], h[:, b : b + 1], None), (alone_y, alone_h, None), f"row {b}")


def test_every_set_has_the_same_bits(rng, sets):
    for case in ("lstm both", "gru", "gru before, both", "rnn"):
        p = Floats(rng, case, 40, 96)
        x = rng.standard_normal((7, 2, 40)).astype(F32)
        expected = p.run(x)
        for name in sets:
            with dq.force_isa(name):
                assert_same(p.run(x, threads=2), expected, name)


def test_bad_values_stay_in_their_row(rng):
    for value in (np.nan, np.inf, -np.inf):
        p = Floats(rng, "lstm both")
        x = rng.standard_normal((5, 3, 13)).astype(F32)
        clean = p.run(x)[0]
        x[2, 1, 4] = value
        y = p.run(x)[0]
        assert np.array_equal(y[:, ::2], clean[:, ::2])
        assert np.isnan(y[2:, 1, : p.state]).all() == np.isnan(value)  # infinities only saturate gates
        assert np.array_equal(y, p.twin(x)[0], equal_nan=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"direction": "reverse", "activations": ["Sigmoid"]}, "activations"), ({"clip": 0.0}, "clip"),
     ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, "activations"), ({"direction": "bidirectional"}, "direction")],
)  # fmt: skip
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        float_layer("lstm", np.ones((1, 8, 3), F32), np.ones((1, 8, 2), F32), **options)
