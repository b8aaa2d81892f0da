"""What version 0.1.0 pickled and saved still loads, and gives the bits that it gave (saved_0_1_0/, made by 4cdce07)."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import dynq_numba as dq

FOLDER = Path(__file__).parent / "saved_0_1_0"
RUN = {
    "linear": lambda given, w: dq.linear(given["x"], w),
    "conv": lambda given, w: dq.conv(given["img"], w),
    "embedding": lambda given, w: dq.embedding(given["ids"], w),
    "lstm": lambda given, w: dq.lstm(given["seq"], w)[0],
    "gru": lambda given, w: dq.gru(given["seq"], w)[0],
    "rnn": lambda given, w: dq.rnn(given["seq"], w)[0],
}


@pytest.fixture(scope="module")
def pickled():
    return pickle.loads((FOLDER / "objects.pickle").read_bytes())


@pytest.fixture(scope="module")
def loaded():
    return dq.load(FOLDER / "weights.safetensors")


def test_files_and_pickles_hold_the_same(pickled, loaded):
    assert loaded.pop("array").shape == (2, 3)
    assert len(loaded) == 10
    for name, packed in loaded.items():
        assert pickled[name] == packed and type(pickled[name]) is type(packed), name
    assert type(pickled["quantized"]) is dq.Quantized and type(pickled["step"]) is dq.step.Linear
    assert pickled["step"].w == pickled["linear"] and type(pickled["cache"]) is dq.KVCache


@pytest.mark.parametrize("name", RUN)
def test_results_are_what_they_were(name, pickled):
    with np.load(FOLDER / "results.npz") as given:
        assert RUN[name](given, pickled[name]).tobytes() == given[name].tobytes()
