"""The recurrent functions inside numba.njit: the same bits as from Python."""

import numba
import numpy as np
import oracle
import pytest
from numba.core.errors import TypingError
from test_recurrent import GATES, PACK, RUN, Problem

import dynq_numba as dq

F32 = np.float32


@numba.njit
def sequence_lstm(x, packed, h0, c0, lengths):
    return dq.lstm(x, packed, h0, c0, lengths)


@numba.njit
def sequence_gru(x, packed, h0, lengths):
    return dq.gru(x, packed, h0, lengths=lengths, threads=2)


@numba.njit
def sequence_rnn(x, packed, h0, lengths):
    return dq.rnn(x, packed, h0, lengths)


@numba.njit
def streaming(x, lstm, gru, rnn):
    h, c = dq.lstm_cell(x[0], lstm)
    for t in range(1, x.shape[0]):
        h, c = dq.lstm_cell(x[t], lstm, h, c)
    g = dq.gru_cell(x[0], gru)
    r = dq.rnn_cell(x[0], rnn, threads=1)
    for t in range(1, x.shape[0]):
        g = dq.gru_cell(x[t], gru, g)
        r = dq.rnn_cell(x[t], rnn, r, threads=1)
    return h, c, g, r


@numba.njit
def plain(x, packed):
    return dq.lstm(x, packed)


@pytest.mark.parametrize("memory", [np.asarray, np.asfortranarray, np.float64], ids=lambda each: each.__name__)
@pytest.mark.parametrize("case", ["lstm both", "lstm projected, both", "gru", "gru before, both", "rnn both"])
def test_sequences(isa, rng, case, memory):
    p = Problem(rng, case)
    run = {"lstm": sequence_lstm, "gru": sequence_gru, "rnn": sequence_rnn}[p.kind]
    x = rng.standard_normal((6, 3, 13)).astype(F32)
    h0, c0 = p.states(rng, 3)
    lengths = np.array([6, 1, 4], np.int32)
    states = (h0, c0) if p.kind == "lstm" else (h0,)
    expected = RUN[p.kind](x, p.packed, *states, lengths)
    for part, wanted in zip(run(memory(x), p.packed, *states, lengths), expected, strict=True):
        oracle.assert_same_bits(part, wanted)


def test_steps(isa, rng):
    parts = [Problem(rng, kind) for kind in ("lstm", "gru", "rnn")]
    x = rng.standard_normal((5, 2, 13)).astype(F32)
    h, c, g, r = streaming(x, *(p.packed for p in parts))
    _, last, cells = dq.lstm(x, parts[0].packed)
    oracle.assert_same_bits(h, last[0])
    oracle.assert_same_bits(c, cells[0])
    oracle.assert_same_bits(g, dq.gru(x, parts[1].packed)[1][0])
    oracle.assert_same_bits(r, dq.rnn(x, parts[2].packed)[1][0])


def test_a_list_keeps_layers_alive(rng):
    """Compiled code holds a layer's words, and these what they lead to."""
    p = Problem(rng, "lstm both")
    x = rng.standard_normal((6, 3, 13)).astype(F32)
    expected = dq.lstm(x, p.packed)[0]
    layers = numba.typed.List([p.packed])
    p.packed = None

    @numba.njit
    def first(x, layers):
        return dq.lstm(x, layers[0])[0]

    room = [dq.pack_rnn(np.ones((200, 200)), np.ones((200, 200))) for _ in range(3)]  # what was freed is used again
    oracle.assert_same_bits(first(x, layers), expected)
    assert len(room) == 3


def test_errors(rng):
    p = Problem(rng, "lstm")
    x = rng.standard_normal((6, 3, 13)).astype(F32)
    h0, c0 = p.states(rng, 3)
    for wrong in (
        (x[:, :, 1:], h0, c0, np.array([6, 6, 6])), (x, h0[:, 1:], c0, np.array([6, 6, 6])),
        (x, h0, c0[:, :, 1:], np.array([6, 6, 6])), (x, h0, c0, np.array([6, 6])), (x, h0, c0, np.array([7, 6, 6])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must"):
            sequence_lstm(wrong[0], p.packed, *wrong[1:])
    gru = PACK["gru"](np.ones((GATES["gru"] * 4, 13)), np.ones((12, 4)))
    for arguments in ((x, gru), (x[0], p.packed), (x.astype(np.int64), p.packed)):
        with pytest.raises(TypingError, match="must"):
            plain(*arguments)
